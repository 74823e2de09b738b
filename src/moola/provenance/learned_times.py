"""What an encoder or a model has learned from: its times, bar length and window length, and what that forbids."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from moola.core.bars import interval_warning, time_us, utc_text, window_bar_interval_s
from moola.core.splits import PARTS, Intervals, Split, index_problems
from moola.core.windows import WINDOW_BARS, intersects, rows_of
from moola.errors import InvalidData
from moola.models.model_files import EncoderFile, ModelFile
from moola.options.judging_options import LeakcheckOptions
from moola.options.study_options import CvOptions, TuneOptions
from moola.options.table_options import CpsaPreviewOptions
from moola.options.training_options import PretrainOptions, TrainOptions
from moola.tables import split_file, window_file
from moola.tables.cutting import TableSource, WindowSource
from moola.tables.split_file import SplitFile, read_split
from moola.tables.window_file import WindowTable

# What a record of times says where the second is when the last bar was over; older ones say when it began.
UNTIL_CLOSE = {"time_range_end": "close"}


def times_learned(start_us: np.ndarray | None, close_us: np.ndarray | None) -> dict[str, Any]:
    """Return what a record has of the times `[start, close)` that were learned from; `time_range` None where unknown.

    Raises
    ------
    ValueError
        There are not times at all.
    """
    if start_us is None or close_us is None:
        return {"time_range": None}
    return {"time_range": [utc_text(start_us.min()), utc_text(close_us.max())]} | UNTIL_CLOSE


def records_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the record and all that it goes on from: an encoder's start, or encoders side by side, each with its own.

    Encoders side by side have learned nothing as such, and their common record is left out.
    """
    own = [record] if "time_range" in record or "also_learned" not in record else []
    return own + [part for other in record.get("also_learned", []) for part in records_of(other)]


def seen_among(record: dict[str, Any], start_us: np.ndarray | None, close_us: np.ndarray | None) -> np.ndarray | None:
    """Return which of these intervals `[start, close)` share time with what was learned from.

    `record` is what an encoder records of its pretraining or a model of its training; what it went on from counts too
    (`records_of`). Of which bars those times were is not on it: bars of another symbol at the same times count too. A
    record of an older version says when its last bar began and not how long it was: what begins after that moment
    counts as not seen. None where the intervals have no times, and where a record has none and the others saw nothing.
    """
    found = [_seen_by_one(part, start_us, close_us) for part in records_of(record)]
    known = [one for one in found if one is not None]
    seen = np.logical_or.reduce(known) if known else None
    return None if seen is None or (len(known) < len(found) and not seen.any()) else seen


def _seen_by_one(record: dict[str, Any], start_us: np.ndarray | None, close_us: np.ndarray | None) -> np.ndarray | None:
    span = record.get("time_range")
    if span is None or start_us is None or close_us is None:
        return None
    first_us, last_us = (time_us(text) for text in span)
    closed = UNTIL_CLOSE.items() <= record.items()
    return intersects(start_us, close_us, first_us, last_us if closed else last_us + 1)


# Under these names a model records what its encoder, or each of its encoders, was pretrained on.
ENCODER_RECORD = {
    "encoder_time_range": "time_range",
    "encoder_time_range_end": "time_range_end",
    "encoder_also_learned": "also_learned",
}


def encoder_times(encoder: EncoderFile | None) -> dict[str, Any]:
    """Return what a model records of the times of its encoder's pretraining; nothing where they are not known."""
    known = {} if encoder is None else encoder.pretraining
    return {mine: known[theirs] for mine, theirs in ENCODER_RECORD.items() if known.get(theirs) is not None}


def learned_until_us(record: dict[str, Any]) -> tuple[int | None, bool]:
    """Return when the last of what was learned from was over, None where nothing has times; and whether all of it has.

    A record of an older version says when its last bar began: the moment after that is returned.
    """
    ends = [_until_us(part) for part in records_of(record)]
    known = [end for end in ends if end is not None]
    return max(known, default=None), bool(ends) and len(known) == len(ends)


def _until_us(record: dict[str, Any]) -> int | None:
    if record.get("time_range") is None:
        return None
    last_us = time_us(record["time_range"][1])
    return last_us if UNTIL_CLOSE.items() <= record.items() else last_us + 1


def seen_times(record: dict[str, Any]) -> str:
    """State the times that were learned from, those of each record; empty where none is known."""
    spans = sorted({tuple(part["time_range"]) for part in records_of(record) if part.get("time_range")})
    return " and ".join(f"{first} to {last}" for first, last in spans)


def seen_sentence(n_seen: int | None, of: str, span: list[str] | None) -> str:
    """State how many windows or events a model has learned from; empty where none or unknown."""
    if not n_seen or span is None:
        return ""
    first, last = (text[:10] for text in span)
    return (
        f"{n_seen} of {of} lie in the times of the labels that the model learned from ({first} to {last}): "
        "they do not show its performance on new bars."
    )


# What a run may have seen of the windows it is evaluated on.


log = logging.getLogger(__name__)


def find_leaks(
    leak_proof: bool | None,
    encoder: EncoderFile | None,
    table: WindowTable,
    split: Split,
    data_sha256: str | None,
    split_sha256: str | None = None,
) -> list[str]:
    """Return a sentence for every way in which val or test were seen before evaluation; empty if none."""
    leaks = []
    if leak_proof is False:
        leaks.append("the split's parts share bars")
    held_out = np.concatenate([split.val, split.test])
    if encoder is not None and (n_seen := _seen_by(encoder, table, held_out, data_sha256, split_sha256)):
        leaks.append(
            f"the encoder was pretrained on times of {n_seen} of {len(held_out)} val and test windows "
            "(pretrain with --split)"
        )
    return leaks


def _seen_by(
    encoder: EncoderFile, table: WindowTable, held_out: np.ndarray, data_sha256: str | None, split_sha256: str | None
) -> int:
    """Count held-out windows that the encoder, or one that it went on from, may have seen.

    Without times, what files and splits can show has to do.
    """
    start_us, close_us = rows_of(table.start_us, held_out), rows_of(table.close_us, held_out)
    found = np.zeros(len(held_out), dtype=bool)
    for record in records_of(encoder.pretraining):
        seen = _seen_by_one(record, start_us, close_us)
        if seen is not None:
            found |= seen
            continue
        same_file = data_sha256 is not None and record.get("input_sha256") == data_sha256
        obeyed = record.get("split_sha256")
        if obeyed is None or obeyed != split_sha256:
            if same_file:
                return len(held_out)
            log.warning("Without times it cannot be determined whether the encoder saw val and test windows.")
    return int(found.sum())


# Which windows without labels may be seen: those over before the split's val and test begin.


def usable_rows(split: Path | None, path: Path, source: WindowSource, input_sha256: str) -> tuple[np.ndarray, str]:
    """Rows that may be seen: all, or those over before the split's val and test begin."""
    everything = np.arange(len(source))
    if split is None:
        if isinstance(source, TableSource) and source.table.classes:
            log.warning(
                "Without --split all %d labelled windows are seen, also those that a split holds out: "
                "runs that use this encoder will be marked as not leak-proof where it saw their bars.",
                len(source),
            )
        return everything, ""
    file = read_split(split)
    intervals = source.intervals
    boundary = _first_held_out_us(file, source, input_sha256)
    if boundary is None or intervals.end_us is None:
        if file.data_sha256 not in (None, input_sha256):
            raise InvalidData(
                f"--split must have the times that it holds out, but {split} and {path} do not both have "
                "times. Write the split again with `moola split`, on windows with start_ts and end_ts."
            )
        if problems := index_problems(file.split, len(source)):
            raise InvalidData.from_problems(split, problems, "Write the split again with `moola split`.")
        return file.split.train, "the split's train rows alone"
    boundary -= _embargo_us(file, intervals, source.window_bars)
    rows = everything[intervals.end_us <= boundary]
    if not len(rows):
        raise InvalidData(
            f"some windows must be over when the split's val and test begin ({utc_text(boundary)}), but none of "
            f"{len(source)} does. Give earlier bars."
        )
    return rows, f"windows that run into or follow {utc_text(boundary)}, where the split's val and test begin"


def _embargo_us(file: SplitFile, intervals: Intervals, window_bars: int) -> int:
    """Return the time of the bars that the split purges beyond one window.

    They are bars of the data that was divided: ten days of embargo stay ten days where hourly bars are learned from. A
    split that does not say how far its bars are apart is taken to be of bars like these.
    """
    n_bars = max(file.purge_window - (file.window_bars - 1), 0)
    if file.bar_interval_us is not None:
        return n_bars * file.bar_interval_us
    if intervals.start_us is None or intervals.end_us is None or window_bars < 2:
        return 0
    # From the first bar's start to the last one's end.
    usual = float(np.median(intervals.end_us - intervals.start_us)) / window_bars
    return round(n_bars * usual)


def _first_held_out_us(file: SplitFile, source: WindowSource, input_sha256: str) -> int | None:
    """Return when the first held-out bar is, from the split's record or from the windows it divides."""
    starts = [file.time_range_us[part][0] for part in PARTS[1:] if part in file.time_range_us]
    if starts:
        return min(starts)
    start_us = source.intervals.start_us
    held_out = np.concatenate([file.split.val, file.split.test])
    fits = file.data_sha256 in (None, input_sha256) and len(held_out) and held_out.max() < len(source)
    return int(start_us[held_out].min()) if fits and start_us is not None else None


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most this many rows, evenly spread, in order."""
    if len(rows) <= most:
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    return chosen


# Whether a model reads bars like those that it learned on.


def compare_bar_intervals(
    model: ModelFile,
    start_us: np.ndarray | None,
    end_us: np.ndarray | None,
    warn: Callable[[str], None] = log.warning,
) -> dict[str, float | str | None]:
    """Warn where windows are of bars of another length than the model's; a model without one gives no warning.

    Parameters
    ----------
    start_us, end_us
        Times of each window's first and last bar in microseconds, of windows of the model's length.
    warn
        Takes the sentence; the log unless the caller is Python.
    """
    learned, read = recorded_interval_s(model.training), window_bar_interval_s(start_us, end_us, model.window_bars)
    if warning := interval_warning(learned, read):
        warn(f"{warning[0].upper()}{warning[1:]}.")
    return {"learned_bar_interval_s": learned, "bar_interval_s": read, "bar_interval_warning": warning or None}


def recorded_interval_s(training: dict[str, Any]) -> float | None:
    """Return the bar length that a record of training holds, None for files written before it was kept."""
    found = training.get("bar_interval_s")
    return float(found) if isinstance(found, int | float) and found > 0 else None


def compare_with_bars(
    model: ModelFile, start_us: np.ndarray, warn: Callable[[str], None] = log.warning
) -> dict[str, float | str | None]:
    """Do the same with one symbol's bars, by the windows that they hold."""
    n_bars = model.window_bars
    return compare_bar_intervals(model, start_us[: max(len(start_us) - n_bars + 1, 0)], start_us[n_bars - 1 :], warn)


# The length of windows where files record it: taken from them, and refused where they or the option disagree.


Options = TypeVar(
    "Options", CpsaPreviewOptions, CvOptions, LeakcheckOptions, PretrainOptions, TrainOptions, TuneOptions
)
# The options that name a file which may record a length; `leakcheck` reports a split or encoder of another length.
NAMES = ("data", "input", "split", "pretrained_encoder")


def agreed_window_bars(asked: int | None, recorded: dict[Path, int]) -> int:
    """Return the length that `--window-bars` and every file agree on; 105 bars where neither has one.

    Parameters
    ----------
    asked
        Value of `--window-bars`, None where it was left out.
    recorded
        Files (models, encoders, splits) with the length that each records.

    Raises
    ------
    InvalidData
        Two files, or a file and the option, disagree.
    """
    named_lengths = [("--window-bars", asked)] if asked is not None else []
    named_lengths += [(str(path), length) for path, length in recorded.items()]
    if len({length for _, length in named_lengths}) > 1:
        # The last of them is a file: an option alone cannot disagree.
        name, length = named_lengths[-1]
        other, found = next(one for one in named_lengths if one[1] != length)
        advice = "Leave it out" if other == "--window-bars" else "Name files of one length"
        raise InvalidData(
            f"windows must have the {length} bars of {name}, but {other} has {found}. {advice}, or cut windows again."
        )
    return named_lengths[0][1] if named_lengths else WINDOW_BARS


def with_window_bars(options: Options) -> Options:
    """Return options whose `window_bars` is a number: as given, else as the files that they name record.

    The length is reported where it is another than the default.

    Raises
    ------
    InvalidData
        Two of the files disagree; both are named.
    MoolaError
        A file cannot be read, as its reader says.
    """
    if options.window_bars is not None:
        return options
    names = ("data",) if isinstance(options, LeakcheckOptions) else NAMES
    named = [(name, path) for name in names for path in _paths(getattr(options, name, None))]
    recorded = {path: length for name, path in named if (length := _recorded(name, path)) is not None}
    length = agreed_window_bars(None, recorded)
    if length != WINDOW_BARS:
        log.info("Windows have %d bars, as in %s.", length, next(iter(recorded)))
    return replace(options, window_bars=length)


def _paths(given: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    if given is None:
        return ()
    return given if isinstance(given, tuple) else (given,)


def _recorded(name: str, path: Path) -> int | None:
    if name == "split":
        return split_file.recorded_window_bars(path)
    if name == "pretrained_encoder":
        # Labelling and tests of lengths need no torch.
        from moola.models.model_files import BASE_NAME, read_encoder

        # The encoder inside the package reads windows of any length.
        return None if path == BASE_NAME else read_encoder(path).window_bars
    return window_file.recorded_window_bars(path)
