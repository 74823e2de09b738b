"""`sample`: real bars that come with the package, windows labelled by the published rule, a split, later windows."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from moola.core.bars import Bars, time_us
from moola.core.expansions import RULE_NAME
from moola.errors import OperationFailed
from moola.files import write_atomic
from moola.options.table_options import (
    AutolabelOptions,
    ConvertOptions,
    SampleOptions,
    SplitOptions,
    WindowsOptions,
)
from moola.stages.make_tables import autolabel, check_bars, convert, cut, find_windows, label_windows, split
from moola.tables.bar_table import bars_frame, read_bars
from moola.tables.cutting import windows_of_bars
from moola.tables.frames import write_frame
from moola.tables.window_file import WindowTable, write_windows

SAMPLE_PACKAGE = "moola.tables"
N_LABELLED = 174
# Of the year alone, for --quick and `sample_bars()`.
YEAR_BARS = Path("raw/eurusd_1h_2017.parquet")
YEAR_NOTICE = Path("raw/eurusd_1h_2017.NOTICE.txt")
BARS = Path("raw/eurusd_1h_2007_2018.parquet")
NOTICE = Path("raw/eurusd_1h_2007_2018.NOTICE.txt")
LATEST_BARS = Path("raw/eurusd_1h_2018.parquet")
UNLABELLED = Path("processed/unlabeled/windows.parquet")
LABELLED = Path("processed/labeled/train_latest.parquet")
RELATIVE = Path("processed/labeled/train_latest_relative.parquet")
LATER = Path("processed/labeled/later.parquet")
SPLIT = Path("splits/fwd_chain_v3.json")
# Labels end here: what comes later is for the verdict.
LATER_FROM_US, LATEST_FROM_US = time_us("2015-01-01"), time_us("2018-01-01")
STRIDE, LATER_STRIDE, UNLABELLED_STRIDE = 26, 35, 40
# The latest of the labelled windows follow each other: val and test, which begin behind the end of the encoder `base`.
# The others are spread over the years before.
N_LATEST = 79


def sample(options: SampleOptions) -> dict[str, Any]:
    """Write the embedded sample: real bars, windows, labels by the published rule, a split and later windows.

    Everything is made in a temporary folder first and compared with what is at its place.

    Raises
    ------
    OperationFailed
        A file of the sample is there already with other content and `overwrite` is not asked; nothing is
        written then.
    """
    with tempfile.TemporaryDirectory(prefix="moola-sample-") as place:
        made = _make_year(Path(place)) if options.quick else _make_sample(Path(place))
        files_made = sorted(path.relative_to(place) for path in Path(place).rglob("*") if path.is_file())
        content = {path: (Path(place) / path).read_bytes() for path in files_made}
    targets = {options.output / path: data for path, data in content.items()}
    different = [str(path) for path, data in targets.items() if path.exists() and path.read_bytes() != data]
    if different and not options.overwrite:
        raise OperationFailed(
            f"the sample must not replace files of yours, but {len(different)} of its {len(targets)} files are there "
            f"with other content, first {different[0]}. Choose another --output, or pass --overwrite."
        )
    for path, data in targets.items():
        write_atomic(path, data)
    return _moved(made, place, str(options.output))


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a record with the paths of the temporary folder given as those of the output."""
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


def read_sample_bars() -> Bars:
    """Read the bars of 2017 that come with the package."""
    with as_file(files(SAMPLE_PACKAGE) / "sample_bars" / YEAR_BARS.name) as path:
        return read_bars(path)


def _copy(root: Path, bars: Path, notice: Path, notice_inside: str) -> Path:
    source = files(SAMPLE_PACKAGE) / "sample_bars"
    write_atomic(root / bars, (source / bars.name).read_bytes())
    write_atomic(root / notice, (source / notice_inside).read_bytes())
    return root / bars


def _make_year(root: Path) -> dict[str, Any]:
    """Make the sample of 2017 alone."""
    bars = _copy(root, YEAR_BARS, YEAR_NOTICE, "NOTICE.txt")
    unlabelled = cut(WindowsOptions(bars=bars, output=root / UNLABELLED))
    labelled = autolabel(AutolabelOptions(bars=bars, output=root / LABELLED, n_windows=N_LABELLED))
    return _described(root, bars, unlabelled, labelled)


def _make_sample(root: Path) -> dict[str, Any]:
    """Make the sample of all years: labels before 2015, later windows from then on, and the latest year to scan."""
    _copy(root, YEAR_BARS, YEAR_NOTICE, "NOTICE.txt")
    path = _copy(root, BARS, NOTICE, NOTICE.name)
    bars = read_bars(path)
    before, later = _between(bars, 0, LATER_FROM_US), _between(bars, LATER_FROM_US, None)
    write_frame(root / LATEST_BARS, bars_frame(_between(bars, LATEST_FROM_US, None)))
    unlabelled = _windows(before, UNLABELLED_STRIDE)
    write_windows(root / UNLABELLED, unlabelled)
    labelled = _labelled(root / LABELLED, before, STRIDE, _spread_and_latest)
    described = _described(root, path, {"output": str(root / UNLABELLED), "n_windows": len(unlabelled)}, labelled)
    return described | {
        "later": _labelled(root / LATER, later, LATER_STRIDE, np.arange),
        "latest_bars": str(root / LATEST_BARS),
    }


def _described(root: Path, bars: Path, unlabelled: dict[str, Any], labelled: dict[str, Any]) -> dict[str, Any]:
    """Add relative windows and the split to a sample, and describe all of it."""
    convert(ConvertOptions(input=root / LABELLED, output=root / RELATIVE))
    return {
        "bars": check_bars(bars),
        "unlabelled": unlabelled,
        "labelled": labelled,
        "relative": str(root / RELATIVE),
        "split": split(SplitOptions(data=root / RELATIVE, output=root / SPLIT)),
        "later": None,
        "latest_bars": None,
    }


def _between(bars: Bars, first_us: int, last_us: int | None) -> Bars:
    """Return the bars that begin in `[first_us, last_us)`; without an end, all from the first on."""
    rows = np.flatnonzero((bars.start_us >= first_us) & (True if last_us is None else bars.start_us < last_us))
    return bars.take(rows)


def _windows(bars: Bars, stride: int) -> WindowTable:
    options = WindowsOptions(bars=BARS, output=UNLABELLED, stride=stride)
    return windows_of_bars(bars, find_windows(bars, options))


def _spread_and_latest(n: int) -> np.ndarray:
    """Return the latest of `n` rows, and others spread evenly over those before."""
    before = np.linspace(0, n - N_LATEST - 1, N_LABELLED - N_LATEST).round().astype(np.int64)
    return np.concatenate([before, np.arange(n - N_LATEST, n)])


def _labelled(path: Path, bars: Bars, stride: int, chosen: Callable[[int], np.ndarray]) -> dict[str, Any]:
    """Label windows by the published rule, and write those of which `chosen` gives the rows."""
    table, counts = label_windows(_windows(bars, stride), None, BARS)
    table = table.take(chosen(len(table)))
    write_windows(path, table)
    kept = dict(sorted(Counter(table.label.tolist()).items()))
    return {"output": str(path), "labelled_by": RULE_NAME, "candidates": counts, "kept": kept}
