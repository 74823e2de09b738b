"""What a live model may not know: bars hidden in its windows, and bars after the moment at which an event is told."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from moola.config.scan_options import ScanOptions
from moola.core.bars import Bars
from moola.core.features import relative_features
from moola.core.seeds import generator
from moola.data.contracts.bar_table import read_bars, write_bars
from moola.data.contracts.event_table import events_frame, read_events
from moola.errors import MoolaError
from moola.models.files import ModelFile, read_model
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject
from moola.pipeline.predicting import read_windows_both_ways
from moola.pipeline.scan.scanning import Scan
from moola.runs import store

HIDDEN, LIVE = "hidden bars", "live scan"
N_WINDOWS, N_MOMENTS, WINDOWS_LONG = 8, 4, 8
ADVICE = "Report it: what is told live must hang on bars up to then."


def hidden_bars(subject: Subject) -> list[Finding]:
    """Change the bars that the run's model does not see: what it says must stay as it is, to the bit."""
    if subject.run is None:
        return [Finding(HIDDEN, "note", "no --run whose model could be shown other bars")]
    model = read_model(subject.run.path(store.MODEL))
    if model.visible_bars is None:
        found = f"the model sees all {model.window_bars} bars: what it says of a window is known when its last bar is"
        return [Finding(HIDDEN, "note", found)]
    ohlc = subject.table.ohlc
    if ohlc is None or subject.table.window_bars != model.window_bars:
        return [Finding(HIDDEN, "note", "the file has no bars of the model's windows to change")]
    rng = generator(subject.options.seed, "leakcheck", "hidden")
    rows = np.sort(rng.permutation(len(ohlc))[:N_WINDOWS])
    changed = ohlc[rows].copy()
    changed[:, model.n_seen_bars :] *= _other_prices(rng, model.window_bars - model.n_seen_bars)
    before, after = (_said(subject, model, relative_features(bars)) for bars in (ohlc[rows], changed))
    differs = [np.any(one != other, axis=tuple(range(1, one.ndim))) for one, other in zip(before, after, strict=True)]
    wrong = np.flatnonzero(np.any(differs, axis=0))
    n_seen = model.n_seen_bars
    if len(wrong):
        row = int(rows[wrong[0]])
        found = f"what the model says of {len(wrong)} of {len(rows)} windows, first {subject.name(row)}, changes with "
        return [Finding(HIDDEN, "leak", f"{found}bars after the {n_seen} that it may see", ADVICE, row, n_seen)]
    found = f"other bars after the {n_seen} visible ones change nothing that is said of {len(rows)} windows, to the bit"
    return [Finding(HIDDEN, "ok", found)]


def _said(subject: Subject, model: ModelFile, features: np.ndarray) -> list[np.ndarray]:
    return [said for said in read_windows_both_ways(model, features, subject.device) if said is not None]


def live_scan(subject: Subject) -> list[Finding]:
    """Scan bars live, then with other bars after some moments, then with none: what was told must be the same."""
    if subject.run is None or subject.options.bars is None:
        return [Finding(LIVE, "note", "no --run and --bars to scan live", "Give both to have it proved.")]
    model = subject.run.path(store.MODEL)
    n_seen = read_model(model).n_seen_bars
    bars = _last_of_first_symbol(read_bars(subject.options.bars), WINDOWS_LONG * n_seen)
    try:
        return _compare_scans(subject, model, bars, n_seen)
    except MoolaError as error:
        return [Finding(LIVE, "note", f"the bars cannot be scanned: {str(error).splitlines()[0]}")]


def _compare_scans(subject: Subject, model: Path, bars: Bars, n_seen: int) -> list[Finding]:
    rng = generator(subject.options.seed, "leakcheck", "live")
    with tempfile.TemporaryDirectory() as folder:
        told = _told(subject, model, bars, Path(folder))
        known = told["known_ts"].dt.timestamp("us").to_numpy()
        for moment in np.linspace(n_seen, len(bars) - 2, N_MOMENTS).astype(np.int64).tolist():
            other = bars.ohlc.copy()
            other[moment + 1 :] *= _other_prices(rng, len(bars) - moment - 1)
            futures = {
                "other bars": replace(bars, ohlc=other),
                "no bars": Bars(bars.start_us[: moment + 1], bars.ohlc[: moment + 1], bars.symbol[: moment + 1]),
            }
            before = told.filter(known <= bars.start_us[moment])
            for name, future in futures.items():
                after = _told(subject, model, future, Path(folder))
                after = after.filter(after["known_ts"].dt.timestamp("us").to_numpy() <= bars.start_us[moment])
                if not after.equals(before):
                    found = (
                        f"{name} after bar {moment} of {len(bars)} change the events told by then: {len(before)} "
                        f"before, {len(after)} after, or other figures"
                    )
                    return [Finding(LIVE, "leak", found, ADVICE, bar=moment)]
    found = (
        f"{len(told)} events told live over {len(bars)} bars: other bars, or none, after any of {N_MOMENTS} moments "
        "change nothing that was told by then, to the bit"
    )
    return [Finding(LIVE, "ok", found)]


def _told(subject: Subject, model: Path, bars: Bars, folder: Path) -> pl.DataFrame:
    """Return the event table of a live scan; every pair is an event, so that many are compared."""
    path, output = folder / "bars.parquet", folder / "events.parquet"
    write_bars(path, bars)
    device, threads = subject.options.device, subject.options.threads
    scan = Scan(
        ScanOptions(model=model, bars=path, output=output, live=True, min_prob=0.0, device=device, threads=threads)
    )
    scan.run(lambda *_: None)
    scan.finish()
    return events_frame(read_events(output))


def _last_of_first_symbol(bars: Bars, n_bars: int) -> Bars:
    rows = np.flatnonzero(bars.symbol == bars.symbol[0])[-n_bars:]
    return Bars(bars.start_us[rows], bars.ohlc[rows], bars.symbol[rows])


def _other_prices(rng: np.random.Generator, n_bars: int) -> np.ndarray:
    """Return what bars are multiplied with: a random walk, so that they stay valid bars."""
    factor: np.ndarray = np.exp(np.cumsum(rng.normal(0.0, 1e-3, n_bars)))[:, None]
    return factor
