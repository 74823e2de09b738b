"""Speed, each figure held against something measured in the same run: the machine's own products and copies, a naive
version, a published one. Prints a table; --history appends a JSON line, --page writes the table into a page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import polars as pl
import torch
from machine_rates import best_of, copy_rate, product_rate
from page_parts import write_part
from sklearn.linear_model import LogisticRegressionCV
from ts2vec_published import training_step

from moola.core.bars import Bars
from moola.core.features import (
    N_FEATURES,
    ZSCORE_BARS,
    ZSCORE_CLIP,
    BarFeatures,
    RobustScaler,
    mirrored_features,
    relative_features,
)
from moola.core.seeds import derive_seed
from moola.core.windows import WINDOW_BARS
from moola.fit.synthetic import taker
from moola.models.head_prior import prior_of
from moola.models.model_files import read_encoder
from moola.models.network import EncoderArchitecture, MaskingEncoder, build_encoder
from moola.options.table_options import AutolabelOptions
from moola.runs.run_store import git_commit, machine, versions
from moola.stages.make_tables import autolabel
from moola.stages.sample import SAMPLE_PACKAGE, YEAR_BARS
from moola.tables.cutting import BarSource
from moola.tables.window_file import read_windows
from moola.training.device import prepare_device, side_by_side, training_dtype
from moola.training.encoder_training import DEFAULT_ARMS, Pretraining, PretrainPlan, build_pretraining
from moola.training.finetune import run_encoder
from moola.training.linear_fit import EncodedWindows, LinearPlan, fit_linear_heads
from moola.training.pretext_tasks import MaskPlan, Sizes, Ts2VecArm, View, Windows

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Figure:
    """One figure: what was measured, beside what, their ratio, and what is wanted of it."""

    what: str
    measured: str
    against: str
    ratio: float
    must: str
    aim: str


def made_bars(n_bars: int) -> np.ndarray:
    """A random walk of bars with wicks."""
    rng = np.random.default_rng(derive_seed(0, "speed bars"))
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 1e-4, n_bars)))
    open_ = np.concatenate([close[:1], close[:-1]])
    wick = 1 + rng.uniform(0, 1e-4, (2, n_bars))
    return np.stack([open_, np.maximum(open_, close) * wick[0], np.minimum(open_, close) / wick[1], close], axis=1)


def write_made_bars(path: Path, n_bars: int) -> None:
    """Write such bars, one a minute."""
    start = np.datetime64("2015-01-01T00:00", "us") + np.arange(n_bars) * np.timedelta64(1, "m")
    columns = dict(zip(("open", "high", "low", "close"), made_bars(n_bars).T, strict=True))
    pl.DataFrame({"timestamp": pl.Series(start).dt.replace_time_zone("UTC"), **columns}).write_parquet(path)


def one_window(ohlc: np.ndarray) -> np.ndarray:
    """The eleven features of one window as one would first write them in numpy: bar by bar for the z-scores."""
    features = np.zeros((len(ohlc), N_FEATURES))
    features[1:, :4] = np.log(ohlc[1:] / ohlc[:-1])
    open_, high, low, close = ohlc.T
    span = np.where(high > low, high - low, np.inf)
    features[:, 4] = np.abs(close - open_) / span
    features[:, 5] = (high - np.maximum(open_, close)) / span
    features[:, 6] = (np.minimum(open_, close) - low) / span
    for bar in range(len(ohlc)):
        last = ohlc[max(bar - ZSCORE_BARS + 1, 0) : bar + 1]
        std = last.std(axis=0)
        z = np.where(std > 0, (ohlc[bar] - last.mean(axis=0)) / np.where(std > 0, std, 1.0), 0.0)
        features[bar, 7:] = np.clip(z, -ZSCORE_CLIP, ZSCORE_CLIP)
    return features


def features_of_windows(n_windows: int = 1000) -> Figure:
    """Vectorised features against a numpy loop over windows."""
    bars = made_bars(n_windows * WINDOW_BARS).reshape(n_windows, WINDOW_BARS, 4)
    fast = n_windows / best_of(lambda: relative_features(bars))
    slow = 20 / best_of(lambda: [one_window(window) for window in bars[:20]])
    return Figure(
        "features of windows", f"{fast:,.0f} windows/s", f"a loop over windows, {slow:,.0f}/s", fast / slow, "50", "200"
    )


def features_of_bars(n_windows: int = 4096) -> Figure:
    """Features of overlapping windows from bars, their bar-level part included, against copying as many bytes."""
    bars, first = made_bars(n_windows + WINDOW_BARS), np.arange(n_windows)
    size = n_windows * WINDOW_BARS * N_FEATURES * 8
    seconds = best_of(lambda: BarFeatures(bars).windows(first, WINDOW_BARS))
    rate, copied = size / seconds, copy_rate(size)
    return Figure(
        "features from bars, stride 1",
        f"{n_windows / seconds:,.0f} windows/s, {rate / 1e9:.2f} GB/s",
        f"memcpy of the output, {copied / 1e9:.2f} GB/s",
        rate / copied,
        "0.15",
        "0.40",
    )


def lstm_training(hidden_dim: int, num_layers: int, n_windows: int, must: str, aim: str) -> Figure:
    """Forward and backward of an encoder as it trains by default, as a share of the machine's float32 product."""
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, hidden_dim, num_layers), 0)
    encoder.training_dtype = training_dtype("auto", CPU)
    batch = torch.randn(n_windows, WINDOW_BARS, N_FEATURES)
    # A gradient that is there already: the loss that would make it is no part of the encoder.
    gradient = torch.ones(n_windows, WINDOW_BARS, encoder.output_dim)
    seconds = best_of(lambda: encoder(batch).backward(gradient))
    n_weights = sum(weight.numel() for name, weight in encoder.named_parameters() if "weight" in name)
    # Forward once, backward twice; 2 operations a weight and bar.
    rate = 3 * 2 * n_weights * n_windows * WINDOW_BARS / seconds
    product = product_rate(torch.float32)
    low = product_rate(torch.bfloat16)
    return Figure(
        f"LSTM training, {num_layers} x {hidden_dim}, one thread",
        f"{n_windows / seconds:,.0f} windows/s in {str(encoder.training_dtype).removeprefix('torch.')}",
        f"float32 product, {product / 1e9:.0f} GFLOP/s (bfloat16: {low / 1e9:.0f})",
        rate / product,
        must,
        aim,
    )


def batches_ahead(n_bars: int = 20_000, batch_size: int = 1024) -> Figure:
    """Batches of the default arms as the threads beside a GPU make them, two against one."""
    bars = Bars(np.arange(n_bars, dtype=np.int64) * 60_000_000, made_bars(n_bars), np.full(n_bars, None, dtype=object))
    first = np.arange(n_bars - WINDOW_BARS + 1)
    source = BarSource(bars, first, WINDOW_BARS)
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, 8, 1), 0)
    plan = PretrainPlan(MaskPlan("patch", 0.15, 7), True, 0, batch_size, 1e-3, 0, CPU)
    take = taker(source, RobustScaler.fit(source.features(first[:2000])))
    made = Pretraining(build_pretraining(encoder, DEFAULT_ARMS, WINDOW_BARS, 0), take, first, first[:1], plan)
    made.fit_arms(first[:2000])
    one, two = (len(first) / best_of(lambda n=n: list(side_by_side(made.train_jobs(0), n)), 3) for n in (1, 2))
    return Figure(
        "batches of the default arms, two threads",
        f"{two:,.0f} windows/s",
        f"one thread, {one:,.0f}/s",
        two / one,
        "-",
        "-",
    )


def ts2vec_step(hidden_dim: int = 128, num_layers: int = 2, n_windows: int = 64) -> Figure:
    """A step of `pretrain-ts2vec` at its defaults against the published architecture with as wide vectors."""
    torch.manual_seed(derive_seed(0, "ts2vec speed"))
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, hidden_dim, num_layers), 0)
    encoder.training_dtype = training_dtype("auto", CPU)
    arm, masking = Ts2VecArm(Sizes(N_FEATURES, WINDOW_BARS, encoder.output_dim), 0), MaskingEncoder(encoder)
    features = np.random.default_rng(0).normal(size=(n_windows, WINDOW_BARS, N_FEATURES)).astype(np.float32)
    batch = torch.from_numpy(features)
    windows = Windows(features, None, np.arange(n_windows) * WINDOW_BARS)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    rng, nothing = np.random.default_rng(1), torch.zeros(n_windows, WINDOW_BARS, dtype=torch.bool)

    def ours() -> None:
        found = arm.targets(windows, arm.draw(n_windows, rng))
        targets = {name: torch.from_numpy(np.asarray(value)) for name, value in found.items()}
        loss = arm.loss(View(batch, nothing, masking), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    theirs = training_step(N_FEATURES, encoder.output_dim, batch)
    # Crops are drawn anew each step, so that many steps are timed as one.
    mine, published = (best_of(lambda step=step: [step() for _ in range(10)], 3) / 10 for step in (ours, theirs))
    return Figure(
        "TS2Vec pretraining, a step of 64 windows",
        f"{mine * 1e3:.0f} ms",
        f"the published architecture in plain PyTorch, {published * 1e3:.0f} ms",
        published / mine,
        "1.5",
        "3",
    )


def pretraining_memory(n_bars: int = 1_500_000) -> Figure:
    """Peak memory of pretraining at stride 1, as a share of what copies of all windows would take."""
    with tempfile.TemporaryDirectory() as place:
        bars = Path(place) / "bars.parquet"
        write_made_bars(bars, n_bars)
        begun = time.monotonic()
        options = ["--input", str(bars), "--output", f"{place}/e.pt", "--epochs", "1", "--epoch-windows", "2000"]
        peak = peak_of_command(["pretrain-bilstm", *options, "--device", "cpu"])
        seconds = time.monotonic() - begun
    copies = n_bars * WINDOW_BARS * N_FEATURES * 8
    return Figure(
        f"peak memory, pretraining on {n_bars:,} bars at stride 1",
        f"{peak / 1e6:,.0f} MB ({seconds:.0f} s with 2,000 windows)",
        f"copies of all windows, {copies / 1e9:.0f} GB",
        peak / copies,
        "1,500 MB",
        "800 MB",
    )


def window_memory(sizes: tuple[int, int] = (20_000, 160_000)) -> Figure:
    """By how much the peak of `windows` and then `convert` grows with the windows, as a share of what those take."""
    peaks = {"windows": [0, 0], "convert": [0, 0]}
    with tempfile.TemporaryDirectory() as place:
        bars, cut, relative = (f"{place}/{name}.parquet" for name in ("bars", "windows", "relative"))
        asked = {
            "windows": ["--bars", bars, "--output", cut, "--stride", "1"],
            "convert": ["--input", cut, "--output", relative],
        }
        for i, n_windows in enumerate(sizes):
            write_made_bars(Path(bars), n_windows + WINDOW_BARS - 1)
            for command, options in asked.items():
                peaks[command][i] = peak_of_command([command, *options])
    grown = max(large - small for small, large in peaks.values())
    windows = (sizes[1] - sizes[0]) * WINDOW_BARS * (N_FEATURES + 4) * 8
    told = "; ".join(
        f"{command} {small / 1e6:,.0f} and {large / 1e6:,.0f} MB" for command, (small, large) in peaks.items()
    )
    return Figure(
        f"peak memory at {sizes[0]:,} and {sizes[1]:,} windows",
        told,
        f"the windows more in memory, features and prices, {windows / 1e6:,.0f} MB",
        grown / windows,
        "0.10",
        "0.05",
    )


def peak_of_command(arguments: list[str]) -> int:
    """Peak memory of one command in bytes; asked of a process of its own, which has no other child."""
    ask = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
    ask += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    command = [sys.executable, "-c", ask, sys.executable, "-m", "moola.cli", *arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def cross_validation() -> Figure:
    """Seconds of `cv` with five folds and five seeds on the sample, against five minutes."""
    with tempfile.TemporaryDirectory() as place:
        moola = [sys.executable, "-m", "moola.cli"]
        subprocess.run([*moola, "sample", "--quick"], cwd=place, check=True, stdout=2)
        begun = time.monotonic()
        data = "data/processed/labeled/train_latest_relative.parquet"
        subprocess.run([*moola, "cv", "--data", data, "--folds", "5", "--seeds", "5"], cwd=place, check=True, stdout=2)
        seconds = time.monotonic() - begun
    return Figure("cv 5 x 5 on the sample", f"{seconds:.0f} s", "five minutes", seconds / 300, "1.0", "0.4")


def linear_heads(n_windows: int = 174) -> Figure:
    """Seconds of one core for both linear heads on encoded windows, against scikit-learn's fit of a class alone.

    The windows are those that a rule labels in the embedded sample, under the encoder `base`. The rival is a logistic
    regression on the mean vectors with as many penalties and folds; ours also fits pointers, under which it pools.
    """
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "windows.parquet"
        with as_file(files(SAMPLE_PACKAGE) / "sample_bars" / YEAR_BARS.name) as bars:
            autolabel(AutolabelOptions(bars=bars, output=output, n_windows=n_windows))
        table = read_windows(output, None).with_features()
    assert table.features is not None
    file, names = read_encoder(Path("base")), sorted(set(table.label))
    upright, turned = (
        run_encoder(file.encoder, file.scaler.transform(features), CPU)
        for features in (table.features, mirrored_features(table.features))
    )
    classes = np.array([names.index(name) for name in table.label])
    pointers = np.stack([table.expansion_start, table.expansion_end], axis=1)
    windows = EncodedWindows(
        upright, turned, classes, pointers, table.intervals(), list(range(len(names))), prior_of(file.encoder)
    )
    plan = LinearPlan()
    begun = time.process_time()
    fit_linear_heads(windows, len(names), plan)
    ours = time.process_time() - begun
    rival = LogisticRegressionCV(Cs=len(plan.class_penalties), cv=plan.n_blocks, max_iter=2000, scoring="neg_log_loss")
    means = (upright.mean(axis=1) + turned.mean(axis=1)) / 2
    begun = time.process_time()
    rival.fit((means - means.mean(axis=0)) / means.std(axis=0), classes)
    theirs = time.process_time() - begun
    return Figure(
        f"linear heads, {n_windows} encoded windows",
        f"{ours:.2f} s",
        f"{theirs:.2f} s, a class alone by scikit-learn",
        ours / theirs,
        "2 s",
        "0.3 s",
    )


MEASURES: dict[str, Callable[[], Figure]] = {
    "windows": features_of_windows,
    "bars": features_of_bars,
    "lstm2x128": lambda: lstm_training(128, 2, 256, "1.0", "1.8"),
    "lstm1x64": lambda: lstm_training(64, 1, 128, "0.75", "1.1"),
    "ts2vec": ts2vec_step,
    "batches": batches_ahead,
    "memory": pretraining_memory,
    "window-memory": window_memory,
    "heads": linear_heads,
    "cv": cross_validation,
}


def table(figures: list[Figure]) -> str:
    """A markdown table."""
    rows = [f"| {f.what} | {f.measured} | {f.against} | {f.ratio:.3g} | {f.must} | {f.aim} |" for f in figures]
    head = ["| what | measured | against, in the same run | ratio | must | aim |", "|---|---|---|---|---|---|"]
    return "\n".join(head + rows)


def main() -> None:
    """Measure what is asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--history", type=Path, help="file to append one JSON line to")
    parser.add_argument("--page", type=Path, help="page to write the table into, between its marks")
    options = parser.parse_args()
    prepare_device("cpu", 1)
    figures = []
    for name in options.only:
        figures.append(MEASURES[name]())
        print(f"{name}: {figures[-1].measured}; {figures[-1].ratio:.3g} of {figures[-1].against}", file=sys.stderr)
    print(table(figures))
    if options.history:
        record = {"commit": git_commit(), "machine": machine(), "versions": versions()}
        with options.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record | {"figures": [asdict(figure) for figure in figures]}) + "\n")
    if options.page:
        write_part(options.page, "speed", table(figures))


if __name__ == "__main__":
    main()
