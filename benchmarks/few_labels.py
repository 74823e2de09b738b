"""Few labels, many test windows: five draws of 174 labels through the public commands alone.

Reads `<name>_train.parquet` (column `draw` 0..4) and `<name>_test.parquet` from --bench-data. For each
draw: one window file of the draw and the test windows, `moola split` (the last 15 % of the draw
validates, the test windows are the test part), `moola train` without an encoder, `moola eval`. Prints the
mean and the standard deviation over draws. Test windows decide nothing: every option is a default.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

NAMES = {"expansions_eurusd_1m": "retracement", "breakouts_xauusd_1h": "follow"}
ARMS = {"plain": ["--augment-data", "false"], "mirror": ["--augment-data", "true", "--mirror-classes", "same"]}
VAL_SHARE = 0.15
N_DRAWS = 5


def moola(folder: Path, *arguments: str) -> dict:
    """Run one public command in a folder and return its JSON."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "moola.cli", *arguments, "--json"]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}\n{result.stderr}")
    return json.loads(result.stdout)


def run_draw(bench: Path, name: str, draw: int, arm: list[str]) -> dict[str, float]:
    """Train on one draw and judge on the test windows."""
    train = pl.read_parquet(bench / f"{name}_train.parquet").filter(pl.col("draw") == draw).drop("draw")
    test = pl.read_parquet(bench / f"{name}_test.parquet")
    with TemporaryDirectory() as place:
        folder = Path(place)
        both = pl.concat([train, test.select(train.columns)])
        both = both.with_columns(window_id=pl.format("{}_{}", pl.col("window_id"), pl.int_range(pl.len())))
        both.write_parquet(folder / "windows.parquet")
        shares = ["--val", str(VAL_SHARE * len(train) / len(both)), "--test", str(len(test) / len(both))]
        moola(folder, "split", "--data", "windows.parquet", "--output", "split.json", *shares)
        begun = time.monotonic()
        run = moola(folder, "train", "--data", "windows.parquet", "--split", "split.json", "--device", "cpu", *arm)
        seconds = time.monotonic() - begun
        shown = moola(folder, "eval", "--run", run["run_id"])
        positive = positive_pr_auc(folder / "artifacts/runs" / run["run_id"] / "predictions.parquet", NAMES[name])
    figures = {key: value["value"] for key, value in shown["figures"].items()}
    wanted = ("brier", "ece", "accuracy", "hit_at_pm3_start", "hit_at_pm3_end", "hit_at_pm3_both")
    sizes = {"n_test": shown["n_windows"], "n_train": run["n_windows"]["train"], "n_val": run["n_windows"]["val"]}
    return {"pr_auc": positive} | {key: figures[key] for key in wanted} | sizes | {"train_s": seconds}


def positive_pr_auc(path: Path, positive: str) -> float:
    """Average precision of one class on the test rows."""
    from moola.data.contracts.prediction_table import read_predictions
    from moola.evaluation.class_metrics import pr_auc_of

    test = read_predictions(path).of_part("test")
    return float(pr_auc_of(positive)(test, np.ones((1, len(test))))[0])


def main() -> None:
    """Run benchmarks and arms, print one table, and keep the JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench-data", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if not options.bench_data.is_dir():
        print(f"few_labels: skipped, there is no folder {options.bench_data} (name it with --bench-data).")
        return
    results: dict[str, dict] = {}
    with ThreadPoolExecutor(options.processes) as pool:
        for name in options.names:
            for arm in options.arms:
                tasks = [pool.submit(run_draw, options.bench_data, name, k, ARMS[arm]) for k in range(N_DRAWS)]
                results[f"{name}/{arm}"] = summary([task.result() for task in tasks])
                print(line(f"{name}/{arm}", results[f"{name}/{arm}"]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


def summary(draws: list[dict[str, float]]) -> dict:
    """Mean and standard deviation of each figure over draws."""
    table = pl.DataFrame(draws)
    means = table.mean().row(0, named=True)
    spreads = table.std().row(0, named=True)
    return {key: {"mean": means[key], "std": spreads[key]} for key in means}


def line(title: str, figures: dict) -> str:
    """One row of the printed table."""
    cells = [f"{key} {value['mean']:.3f} +- {value['std']:.3f}" for key, value in figures.items()]
    return f"{title}: " + ", ".join(cells)


if __name__ == "__main__":
    main()
