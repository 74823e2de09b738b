"""What one part of a scan proposes: it hangs on the part's own windows and their neighbours alone, whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from moola.config.scan_options import ScanOptions
from moola.core.bars import Bars
from moola.core.merging import MergedEvents, WindowCurves
from moola.data.contracts.bar_spool import LaidOutBars, SpooledBars, symbol_gap_s
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.models.files import ModelFile, read_model
from moola.pipeline.scan.counts import Stretch
from moola.pipeline.scan.reading import Judging, Sliding, WindowReader
from moola.training.device import prepare_device

# A threshold chosen where every window has an expansion can be next to nothing; between them most windows have none.
LEAST_PROB = 0.1


@dataclass(frozen=True)
class PartReader:
    """A model over bars that are laid out, a part at a time."""

    reader: WindowReader
    judging: Judging
    spool: LaidOutBars
    live: bool

    def said(self, symbol: int, first: int, last: int) -> tuple[WindowCurves, Bars, int]:
        """Read the windows at the places `[first, last)` of a symbol; return them, their bars and the bars' place."""
        stride = self.reader.sliding.stride
        n_places = self.reader.sliding.n_places(self.spool.n_bars[symbol], self.reader.n_bars)
        first, last = max(first, 0), min(last, n_places)
        bars = self.spool.read(symbol, first * stride, (last - 1) * stride + self.reader.n_bars)
        max_gap_s = symbol_gap_s(self.spool, symbol, self.reader.sliding.max_gap_hours)
        return self.reader.read(bars, first * stride, max_gap_s), bars, first * stride

    def proposed(self, stretch: Stretch) -> MergedEvents:
        """Return the events of a part: in hindsight all that are probable enough, live all that can be told."""
        sliding = self.reader.sliding
        reach = sliding.reach(self.reader.n_bars)
        own = slice(stretch.first * sliding.stride, stretch.last * sliding.stride)
        if self.live:
            said, _, _ = self.said(stretch.symbol, stretch.first - reach, stretch.last)
            return self.judging.as_known(said, own)
        said, _, _ = self.said(stretch.symbol, stretch.first - reach, stretch.last + reach)
        return self.judging.in_hindsight(said, own)


def propose(
    options: ScanOptions, model_sha256: str, spool: SpooledBars, number: int, stretch: Stretch
) -> tuple[int, MergedEvents]:
    """Return a part's number and what it proposes, in a process that may never have heard of the scan.

    Raises
    ------
    InvalidData
        The model file is not the one of the scan.
    """
    reader, judging = _opened(options, model_sha256)
    return number, PartReader(reader, judging, spool, options.live).proposed(stretch)


@lru_cache(maxsize=1)
def _opened(options: ScanOptions, model_sha256: str) -> tuple[WindowReader, Judging]:
    """Open the model once a process."""
    if sha256_file(options.model) != model_sha256:
        raise InvalidData(
            f"all processes of a scan must read one model file, but {options.model} is another for 1 of them. "
            "Give every node the same file under the same path."
        )
    reader = open_reader(options)
    return reader, open_judging(options, reader.model)


def open_reader(options: ScanOptions) -> WindowReader:
    """Read the model, which must point."""
    return reader_of(read_model(options.model), options)


def reader_of(model: ModelFile, options: ScanOptions) -> WindowReader:
    """Let a model that points slide as the options say; messages call it what they do.

    Raises
    ------
    WrongUsage
        The model predicts no pointers.
    """
    device = prepare_device(options.device, options.threads)
    if not model.network.predict_pointers:
        raise WrongUsage(
            f"a scan must have a model that predicts pointers, but {options.model} was trained without. "
            "Train one with --predict-pointers true."
        )
    return WindowReader(model, device, Sliding(options.stride, options.max_gap_hours, options.batch_windows))


def open_judging(options: ScanOptions, model: ModelFile) -> Judging:
    """Return what an event must have, as the options or the model say."""
    # The model's threshold is one pointer's; an event has two, and its probability is of both.
    own = max((model.pointer_threshold or 0.0) ** 2, LEAST_PROB)
    least = own if options.min_prob is None else options.min_prob
    return Judging(least, options.max_overlap, options.live_windows)
