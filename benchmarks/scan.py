"""Seconds and peak memory of a scan, memory for ten times the bars, and speed against one window at a time.

Usage: benchmarks/scan.py [FOLDER_OF_BARS] [--model MODEL] [--times 10]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch

from moola.core.features import N_FEATURES, RobustScaler
from moola.core.windows import cut_windows, take_windows
from moola.fit.predicting import predict_windows
from moola.models.model_files import ModelFile, read_model, write_model
from moola.models.network import EncoderArchitecture, build_encoder, build_network
from moola.options.scan_options import ScanOptions
from moola.scan.scanning import Scan
from moola.tables.bar_table import read_bars
from moola.tables.window_file import WindowTable

NAME = "eurusd_1m_2017h1.parquet"
STRIDE = 5
N_ALONE = 40


def fresh_model(path: Path) -> Path:
    """Write a model of the sizes that `train` gives by default; weights and scaler do not change the speed."""
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, 64, 1), 0)
    network = build_network(encoder, 2, True, 0.0, 0, 3)
    scaler = RobustScaler(np.zeros(N_FEATURES), np.array([3e-4] * 4 + [0.3] * 3 + [1.3] * 4))
    classes = ["consolidation", "retracement"]
    write_model(path, ModelFile(network, "enhanced_simple_lstm", scaler, 105, classes, 1.0, 0.3, {}, [0, 1]))
    return path


def repeated(bars: Path, times: int, output: Path) -> Path:
    """Write the bars so many times, each time whole weeks later, as `moola bars import` would write them."""
    frame = pl.read_parquet(bars)
    days = (frame["timestamp"][-1] - frame["timestamp"][0]).days
    later = timedelta(days=days + 7 - days % 7)
    pl.concat([frame.with_columns(pl.col("timestamp") + k * later) for k in range(times)]).write_parquet(output)
    return output


def scan_alone(model: Path, bars: Path, folder: Path) -> dict[str, float]:
    """Scan in a process of its own, so that peak memory is the scan's."""
    command = [sys.executable, __file__, "--model", str(model), "--scan", str(bars), str(folder / "events.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_scan(model: Path, bars: Path, output: Path) -> None:
    """Scan and print what it took."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    scan = Scan(ScanOptions(model=model, bars=bars, output=output, stride=STRIDE, device="cpu"))
    result = scan.run(lambda *_: None)
    scan.finish()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {name: result[name] for name in ("n_bars", "n_windows", "n_events")}
    print(json.dumps({**told, "seconds": seconds, "peak_mib": peak, "mib_before": before}))


def alone_per_s(model: Path, bars: Path) -> float:
    """Windows a second when each is predicted alone, as a caller would who has one window at a time."""
    torch.set_num_threads(1)
    loaded, table = read_model(model), read_bars(bars)
    cut = cut_windows(table, STRIDE, loaded.window_bars)
    rows = cut.first_bar[np.linspace(0, len(cut) - 1, N_ALONE).astype(np.int64)]
    ohlc = take_windows(table.ohlc, rows, loaded.window_bars)
    none, bare = np.full(1, -1), np.full(1, None, dtype=object)
    part, device = np.full(1, "new", dtype=object), torch.device("cpu")

    def predict_one(one: np.ndarray) -> None:
        window = WindowTable(["w"], one[None], None, bare, none, none, None, None, np.full(1, ""), pl.DataFrame())
        predict_windows(loaded, window, np.zeros(1, dtype=np.int64), part, device)

    predict_one(ohlc[0])
    begun = time.perf_counter()
    for one in ohlc:
        predict_one(one)
    return N_ALONE / (time.perf_counter() - begun)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--scan", type=Path, nargs=2, metavar=("BARS", "OUTPUT"), help="one scan, for the others")
    options = parser.parse_args()
    if options.scan:
        one_scan(options.model, *options.scan)
        return
    bars = options.folder / NAME
    if not bars.is_file():
        print(f"scan: skipped, there is no {bars}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or fresh_model(folder / "model.pt")
        once = scan_alone(model, bars, folder)
        alone = alone_per_s(model, bars)
        result = {
            "bars": NAME,
            "stride": STRIDE,
            "scan": once,
            "windows_per_s": once["n_windows"] / once["seconds"],
            "alone_windows_per_s": alone,
            "times_faster_than_one_at_a_time": once["n_windows"] / once["seconds"] / alone,
        }
        if options.times > 1:
            many = scan_alone(model, repeated(bars, options.times, folder / "bars.parquet"), folder)
            result |= {
                f"scan_of_{options.times}_times_the_bars": many,
                "memory_ratio": many["peak_mib"] / once["peak_mib"],
                "seconds_ratio": many["seconds"] / once["seconds"],
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
