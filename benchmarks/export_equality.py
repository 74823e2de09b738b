"""How far an exported graph of prices is off `predict`, over many random and awkward windows.

python benchmarks/export_equality.py artifacts/runs/<RUN_ID>/model.pkl [--windows 10000]

Windows go to `predict` in a file, as a user's do, and to onnxruntime one at a time. Prints the largest difference of
the probabilities and how many pairs of bars differ (each as likely as the other, or the script fails).
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from moola.fit.predicting import predict
from moola.models.model_files import read_model
from moola.options.training_options import ExportOptions, PredictOptions
from moola.stages import export_onnx
from moola.stages.export_onnx import checked_windows
from moola.tables.prediction_table import read_predictions


def told(model: Path, ohlc: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """Return what `moola predict` writes of these windows, by the names of the graph's outputs."""
    table = pl.DataFrame(
        {
            "window_id": [f"window {place}" for place in range(len(ohlc))],
            "features": pl.Series(ohlc.tolist(), dtype=pl.List(pl.List(pl.Float64))),
        }
    )
    table.write_parquet(folder / "windows.parquet")
    predict(PredictOptions(model=model, data=folder / "windows.parquet", output=folder / "told.parquet", device="cpu"))
    found = read_predictions(folder / "told.parquet")
    outputs = {export_onnx.CLASS_OUTPUT: found.class_prob}
    if found.curves is None:
        return outputs
    return outputs | {
        export_onnx.PAIR_OUTPUT: found.predicted_bar,
        export_onnx.NEAR_OUTPUT: found.pointer_prob,
        export_onnx.POINTER_OUTPUT: found.curves,
    }


def compare(path: Path, n_windows: int, seed: int) -> float:
    """Print the differences of one model, and return the largest one."""
    logging.getLogger("moola").setLevel(logging.ERROR)
    model = read_model(path)
    ohlc = checked_windows(n_windows, model.window_bars, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx.export(ExportOptions(model=path, output=folder / "model.onnx", input="ohlc"))
        expected = told(path, ohlc, folder)
        # A file keeps curves as long as the window; the graph gives those of the bars that the model sees.
        cut = {name: value[:, : model.n_seen_bars] if value.ndim == 3 else value for name, value in expected.items()}
        begun = time.perf_counter()
        seen = ohlc[:, : model.n_seen_bars].astype(np.float32)
        said = dict(
            zip(export_onnx.output_names(model, "ohlc"), export_onnx.run_onnx(folder / "model.onnx", seen), strict=True)
        )
        seconds = time.perf_counter() - begun
    off = export_onnx.furthest(model, said, cut)
    print(f"{path.parent.name}: {len(ohlc)} windows, {seen.shape[1]} bars, heads {model.network.head_kind}")
    each_ms = 1e3 * seconds / len(ohlc)
    print(f"  largest difference {off:.2g} (at most {export_onnx.TOLERANCE:g}), {each_ms:.2f} ms a window")
    if export_onnx.PAIR_OUTPUT in said:
        n_other = int((said[export_onnx.PAIR_OUTPUT] != cut[export_onnx.PAIR_OUTPUT]).any(axis=1).sum())
        print(f"  {n_other} pairs of bars differ, and are as likely by the model's curves")
    return off


def main() -> None:
    """Compare, and fail where a graph is further off than it may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    off = [compare(path, given.windows, given.seed) for path in given.models]
    if not max(off) <= export_onnx.TOLERANCE:
        raise SystemExit(
            f"a graph must be within {export_onnx.TOLERANCE:g} of its model, but one is {max(off):.2g} off"
        )


if __name__ == "__main__":
    main()
