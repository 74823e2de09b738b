"""Few labels, many judged windows: five draws of 174 labels through the public commands.

Reads `<name>_train.parquet` (column `draw` 0..4) and `<name>_test.parquet` from --bench-data.

--judge test         the benchmark: a draw and the test windows in one file, `moola split` (the last 15 % of the
                     draw validates, the test windows are the test part), `moola train` without an encoder,
                     `moola eval`. Every option is a default: test windows decide nothing.
--judge other-draws  for choosing options: train on a draw, `moola predict` the windows of the other draws
                     that share no bar with it. Never reads the test file.

--options is passed to `moola train`; --without-window-scale takes the encoder's own scaling away (ablation).
Prints mean and standard deviation over draws.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl

NAMES = {"expansions_eurusd_1m": "retracement", "breakouts_xauusd_1h": "follow"}
ARMS = {"plain": ["--augment-data", "false"], "mirror": ["--augment-data", "true", "--mirror-classes", "same"]}
FIGURES = ("brier", "ece", "accuracy", "hit_at_pm3_start", "hit_at_pm3_end", "hit_at_pm3_both")
VAL_SHARE = 0.15
N_DRAWS = 5


def moola(*arguments: str) -> dict:
    """Run one public command in this folder and return its JSON."""
    from moola.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main([*arguments, "--json"])
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"moola {' '.join(arguments)}: {err.getvalue()}") from stop
    return json.loads(out.getvalue())


def run_draw(options: argparse.Namespace, name: str, draw: int, arm: list[str]) -> dict[str, float]:
    """Train on one draw, judge it, and return its figures."""
    bench = options.bench_data.resolve()
    train = pl.read_parquet(bench / f"{name}_train.parquet")
    with TemporaryDirectory() as place, contextlib.chdir(place), ablation(options.without_window_scale):
        judge = judge_on_test if options.judge == "test" else judge_on_other_draws
        return judge(bench / f"{name}_test.parquet", train, draw, [*arm, *options.options], NAMES[name])


def train_on(folder_file: str, shares: list[str], arm: list[str]) -> tuple[dict, float]:
    """Split and train; returns the run's record and its seconds."""
    moola("split", "--data", folder_file, "--output", "split.json", *shares)
    begun = time.monotonic()
    run = moola("train", "--data", folder_file, "--split", "split.json", "--device", "cpu", *arm)
    return run, time.monotonic() - begun


def judge_on_test(test_file: Path, train: pl.DataFrame, draw: int, arm: list[str], positive: str) -> dict[str, float]:
    """Put the test windows behind the draw's and let `moola eval` judge."""
    mine = train.filter(pl.col("draw") == draw).drop("draw")
    test = pl.read_parquet(test_file).select(mine.columns)
    both = pl.concat([mine, test])
    both = both.with_columns(window_id=pl.format("{}_{}", pl.col("window_id"), pl.int_range(pl.len())))
    both.write_parquet("windows.parquet")
    shares = ["--val", str(VAL_SHARE * len(mine) / len(both)), "--test", str(len(test) / len(both))]
    run, seconds = train_on("windows.parquet", shares, arm)
    wanted = ["--metrics", "brier", "ece", "accuracy", "--event-metrics", "hit_at_pm3"]
    shown = moola("eval", "--run", run["run_id"], *wanted)
    figures = {key: shown["figures"][key]["value"] for key in FIGURES}
    pr_auc = positive_pr_auc(f"artifacts/runs/{run['run_id']}/predictions.parquet", "test", positive)
    sizes = {"n_judged": shown["n_windows"], "n_train": run["n_windows"]["train"]}
    return {"pr_auc": pr_auc} | figures | sizes | {"train_s": seconds}


def judge_on_other_draws(
    _test_file: Path, train: pl.DataFrame, draw: int, arm: list[str], positive: str
) -> dict[str, float]:
    """Predict the windows of other draws that share no bar with this one."""
    from moola.data.contracts.prediction_table import read_predictions
    from moola.evaluation.figures import TrainingFacts, evaluate

    mine = train.filter(pl.col("draw") == draw).drop("draw")
    mine.write_parquet("windows.parquet")
    run, seconds = train_on("windows.parquet", ["--val", str(VAL_SHARE), "--test", "0"], arm)
    spans = mine.select("start_ts", "end_ts").to_numpy()
    others = train.filter(pl.col("draw") != draw).drop("draw").unique("window_id", maintain_order=True)
    free = [
        not ((spans[:, 0] <= end) & (spans[:, 1] >= start)).any()
        for start, end in others.select("start_ts", "end_ts").to_numpy()
    ]
    others.filter(pl.Series(free)).write_parquet("others.parquet")
    model = f"artifacts/runs/{run['run_id']}/model.pkl"
    moola("predict", "--model", model, "--data", "others.parquet", "--output", "predictions.parquet")
    predictions = read_predictions(Path("predictions.parquet")).of_part("new")
    counts = dict(mine["label"].value_counts().iter_rows())
    evaluation = evaluate(predictions, TrainingFacts(counts, None, None, None))
    figures = {key: evaluation.figure(key).value for key in FIGURES}
    pr_auc = positive_pr_auc("predictions.parquet", "new", positive)
    sizes = {"n_judged": len(predictions), "n_train": run["n_windows"]["train"]}
    return {"pr_auc": pr_auc} | figures | sizes | {"train_s": seconds}


def positive_pr_auc(path: str, part: str, positive: str) -> float:
    """Average precision of one class."""
    from moola.data.contracts.prediction_table import read_predictions
    from moola.evaluation.class_metrics import pr_auc_of

    rows = read_predictions(Path(path)).of_part(part)
    return float(pr_auc_of(positive)(rows, np.ones((1, len(rows))))[0])


@contextlib.contextmanager
def ablation(without_window_scale: bool) -> Iterator[None]:
    """Let the encoder read the scaled features as they are, with a column of zeros for the path."""
    if not without_window_scale:
        yield
        return
    from torch.nn.functional import pad

    with patch("moola.models.encoder.WindowScale.forward", lambda _self, features: pad(features, (0, 1))):
        yield


def summary(draws: list[dict[str, float]]) -> dict:
    """Mean and standard deviation of each figure over draws."""
    table = pl.DataFrame(draws)
    means, spreads = table.mean().row(0, named=True), table.std().row(0, named=True)
    # A figure that does not exist (pointers of a network without them) is left out.
    return {key: {"mean": means[key], "std": spreads[key]} for key in means if means[key] is not None}


def line(title: str, figures: dict) -> str:
    """One row of the printed table."""
    cells = [f"{key} {value['mean']:.3f} +- {value['std']:.3f}" for key, value in figures.items()]
    return f"{title}: " + ", ".join(cells)


def main() -> None:
    """Run benchmarks and arms, print one table, and keep the JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench-data", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--judge", default="test", choices=["test", "other-draws"])
    parser.add_argument("--without-window-scale", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="last: options of moola train")
    options = parser.parse_args()
    if not options.bench_data.is_dir():
        print(f"few_labels: skipped, there is no folder {options.bench_data} (name it with --bench-data).")
        return
    if options.judge == "other-draws" and options.options:
        print("options:", *options.options)
    results: dict[str, dict] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for name in options.names:
            for arm in options.arms:
                tasks = [pool.submit(run_draw, options, name, draw, ARMS[arm]) for draw in range(N_DRAWS)]
                results[f"{name}/{arm}"] = summary([task.result() for task in tasks])
                print(line(f"{name}/{arm}", results[f"{name}/{arm}"]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
