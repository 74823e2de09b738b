"""A model file in memory: predicts windows, scans bars."""

from __future__ import annotations

import itertools
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from moola.api.frame_conversion import FrameT, bars_of, like, path_given
from moola.api.input_tables import Times, Windows, table_of
from moola.api.notebook_stages import table_html
from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.fit.predicting import compare_bars, predict_new
from moola.models.model_files import ModelFile, read_model, write_model
from moola.options.option_fields import DeviceName
from moola.options.scan_options import ScanOptions
from moola.provenance.learned_times import compare_with_bars
from moola.scan.parts import PartReader, reader_and_judging, scan_held
from moola.tables.bar_table import HeldBars
from moola.tables.event_table import events_frame, events_of
from moola.tables.prediction_table import Predictions, predictions_frame
from moola.tables.window_file import WindowTable
from moola.training.device import prepare_device


@dataclass(frozen=True, eq=False)
class Model:
    """A model as `moola train` or `moola promote` wrote it, or as a `WindowClassifier` fitted it (`model_`).

    Parameters
    ----------
    file
        What the model file holds.
    name
        What messages call it.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads for this whole process, 0 for one per core; results depend on it in the last bits.

    Examples
    --------
    >>> import moola
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu")
    >>> small.fit(windows, windows["label"]).model_.save("model.pkl")
    >>> model = moola.Model.load("model.pkl", device="cpu")
    >>> model.class_names, model.window_bars
    (['consolidation', 'retracement'], 105)
    >>> model.predict(windows[:2]).columns[-7:]
    ['predicted_label', 'predicted_start', 'start_prob', 'start_curve', 'predicted_end', 'end_prob', 'end_curve']
    >>> model.scan(moola.sample_bars()[:500]).columns[:3]
    ['symbol', 'start_ts', 'end_ts']
    """

    file: ModelFile = field(repr=False)
    name: str = "the model"
    device: DeviceName = "auto"
    threads: int = 1

    @classmethod
    def load(cls, path: Path | str, *, device: DeviceName = "auto", threads: int = 1) -> Model:
        """Read a model file: a promoted `.pt`, or the `model.pkl` of a run; no code of it is run.

        Raises
        ------
        UntrustedFile
            It is not exactly a moola model file; nothing of it was used.
        """
        return cls(read_model(path_given(path, "path")), str(path), device, threads)

    def save(self, path: Path | str) -> None:
        """Write the model file that `moola predict`, `scan`, `export` and `Model.load` read."""
        write_model(path_given(path, "path"), self.file)

    @property
    def class_names(self) -> list[str]:
        """Classes, in the order of `prob_<class>`."""
        return list(self.file.class_names)

    @property
    def window_bars(self) -> int:
        """Bars that a window must have."""
        return self.file.window_bars

    @property
    def pointer_threshold(self) -> float | None:
        """Least probability of a pointer that counts, chosen on val rows; None where the model does not point."""
        return self.file.pointer_threshold

    def _repr_html_(self) -> str:
        network, training = self.file.network, self.file.training
        known = ("time_range", "labelled_by", "bar_interval_s")
        rows = [
            ("classes", self.class_names),
            ("bars of a window", self.window_bars),
            ("heads", network.head_kind),
            ("points to bars", network.predict_pointers),
            ("pointer threshold", self.pointer_threshold),
            *((name.replace("_", " "), training[name]) for name in known if training.get(name) is not None),
        ]
        return table_html(f"moola model: {self.name}", (), rows)

    def predict(self, windows: FrameT) -> FrameT:
        """Predict windows, as `moola predict` does.

        Parameters
        ----------
        windows
            Window table, or an array of prices `(windows, bars, 4)` or features `(windows, bars, 11)`.

        Returns
        -------
        frame
            Of the kind that came (a structured array for an array), a row per window, in order: calibrated
            `prob_<class>`, `predicted_label`, and where the model points `predicted_start`, `predicted_end` (bars of
            the window), the probability that each is within 3 bars, and the curves over bars; beside them the truth,
            where the table has it.

        Warns
        -----
        UserWarning
            The windows have times, and are of bars of another length than the model learned on; or they are unlike the
            windows that calibrated it.

        Raises
        ------
        InvalidData
            The windows break a rule, or have another length than the model's.
        """
        return like(windows, predictions_frame(self.predictions(windows)))

    def predictions(self, windows: Windows, times: Times | None = None) -> Predictions:
        """Return what `predict` lays out."""
        return self.predictions_of(table_of(windows, times, "windows"))

    def predictions_of(self, table: WindowTable) -> Predictions:
        """Return the same of a table that is read already."""
        return predict_new(self.file, table, prepare_device(self.device, self.threads), _warn)[0]

    def scan(
        self,
        bars: FrameT,
        *,
        stride: int | None = None,
        max_gap_hours: float | None = None,
        min_prob: float | None = None,
        max_overlap: float = 0.1,
        live: bool = False,
        live_windows: int = 2,
        batch_windows: int = 1024,
    ) -> FrameT:
        """Find events in bars in memory, as `moola scan` does in files of any size: the same events.

        Parameters
        ----------
        bars
            Bars as a frame of pandas, polars or numpy, any number of symbols.
        stride
            Bars from one window to the next; smaller lets more windows evaluate an event and takes longer. By default
            5, or what presence learned from.
        max_gap_hours
            Longest time between neighbouring bars inside a window; left out, found as in `moola.windows`.
        min_prob
            Least `event_prob`; left out, the threshold that presence chose, else the square of the model's pointer
            threshold, and at least 0.1.
        max_overlap
            Largest overlap of two events; of two that overlap more, the more probable one stays.
        live
            Report each event at the first moment at which enough is known of it, from the bars up to then alone. False
            looks back from the end of the bars: no rule that trades on such `start_ts` or `end_ts` could have known.
        live_windows
            Least number of windows that must have seen an event before it is reported live.
        batch_windows
            Windows read at a time; memory grows with it.

        Returns
        -------
        frame
            Of the kind that came, a row an event: symbol, UTC times and the 80 % range of each pointer, class,
            probabilities, how many windows agree; `known_ts` where `live`.

        Warns
        -----
        UserWarning
            The bars have another length than those that the model learned on, or are unlike those that calibrated it.

        Raises
        ------
        InvalidData
            The bars break a rule, or are too few for a window.
        WrongUsage
            The model predicts no pointers, or an option cannot work.
        """
        options = ScanOptions(
            model=Path(self.name), bars=Path("the bars"), output=Path("events.parquet"), stride=stride,
            max_gap_hours=max_gap_hours, min_prob=min_prob, max_overlap=max_overlap, live=live,
            live_windows=live_windows, batch_windows=batch_windows, device=self.device, threads=self.threads,
        )  # fmt: skip
        options.check()
        held = HeldBars(bars_of(bars))
        reading = PartReader(*reader_and_judging(self.file, options), held, live)
        longest = int(np.argmax(held.n_bars))
        compare_with_bars(self.file, held.read(longest, 0, held.n_bars[longest]).start_us, _warn)
        compare_bars(self.file, held, max_gap_hours, reading.reader.device, _warn)
        nothing = events_of(MergedEvents.none(len(self.class_names)), Bars.none(), self.class_names)
        frames = [events_frame(events) for events in scan_held(reading, "the bars")]
        return like(bars, pl.concat([events_frame(nothing), *frames]))


def _warn(sentence: str) -> None:
    """Warn with the line of the code that called moola, however deep inside it the warning arises."""
    frame, level = sys._getframe(), 1
    for depth in itertools.count(2):
        inside = frame.f_globals.get("__name__", "").partition(".")[0] == "moola"
        level = depth if inside else level
        if frame.f_back is None:
            break
        frame = frame.f_back
    warnings.warn(sentence, UserWarning, stacklevel=level)
