"""The length of windows where files record it: taken from them, and refused where they or the option disagree."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from moola.config.cpsa_options import CpsaPreviewOptions
from moola.config.cv_options import CvOptions
from moola.config.leakcheck_options import LeakcheckOptions
from moola.config.pretrain_options import PretrainOptions
from moola.config.train_options import TrainOptions
from moola.config.tune_options import TuneOptions
from moola.core.windows import WINDOW_BARS
from moola.data.contracts import split_file, window_file
from moola.errors import InvalidData

log = logging.getLogger(__name__)
Options = TypeVar(
    "Options", CpsaPreviewOptions, CvOptions, LeakcheckOptions, PretrainOptions, TrainOptions, TuneOptions
)
# The options that name a file which may record a length; `leakcheck` reports a split or encoder of another length.
NAMES = ("data", "input", "split", "pretrained_encoder")


def agreed_window_bars(asked: int | None, recorded: dict[Path, int]) -> int:
    """Return the length that `--window-bars` and every file agree on; 105 bars where neither says one.

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
    said = [("--window-bars", asked)] if asked is not None else []
    said += [(str(path), length) for path, length in recorded.items()]
    if len({length for _, length in said}) > 1:
        # The last of them is a file: an option alone cannot disagree.
        name, length = said[-1]
        other, found = next(one for one in said if one[1] != length)
        advice = "Leave it out" if other == "--window-bars" else "Name files of one length"
        raise InvalidData(
            f"windows must have the {length} bars of {name}, but {other} says {found}. {advice}, or cut windows anew."
        )
    return said[0][1] if said else WINDOW_BARS


def with_window_bars(options: Options) -> Options:
    """Return options whose `window_bars` is a number: as given, else as the files that they name record.

    The length is said where it is another than the default.

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
    named = {name: path for name in names if (path := getattr(options, name, None)) is not None}
    recorded = {path: length for name, path in named.items() if (length := _recorded(name, path)) is not None}
    length = agreed_window_bars(None, recorded)
    if length != WINDOW_BARS:
        log.info("Windows have %d bars, as %s says.", length, next(iter(recorded)))
    return replace(options, window_bars=length)


def _recorded(name: str, path: Path) -> int | None:
    if name == "split":
        return split_file.recorded_window_bars(path)
    if name == "pretrained_encoder":
        # Labelling and tests of lengths need no torch.
        from moola.models.files import read_encoder

        return read_encoder(path).window_bars
    return window_file.recorded_window_bars(path)
