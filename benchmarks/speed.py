"""Speed, each figure a ratio against something in the same run: a naive version, the machine's own product."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from moola.core.features import relative_features
from moola.core.seeds import derive_seed
from moola.models.encoder import EncoderArchitecture, build_encoder
from moola.runs.store import git_commit, machine, versions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
REPEATS = 5


def best_of(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def features_against_naive(n_windows: int = 200) -> dict[str, float]:
    """Vectorised features against the tests' naive loop, on the same windows."""
    from tests.made import made_windows
    from tests.oracles import naive_features

    ohlc = made_windows(n_windows).ohlc
    fast = best_of(lambda: relative_features(ohlc))
    slow = best_of(lambda: [naive_features(window.tolist()) for window in ohlc[:5]], 1) * n_windows / 5
    return {"windows_per_s": n_windows / fast, "times_faster_than_naive": slow / fast}


def encoder_against_product(hidden_dim: int, num_layers: int, n_windows: int = 64) -> dict[str, float]:
    """Forward and backward of the encoder against the same multiply-adds as one matrix product."""
    torch.set_num_threads(1)
    torch.manual_seed(derive_seed(0, "speed"))
    encoder = build_encoder(EncoderArchitecture("bilstm", 11, hidden_dim, num_layers), 0)
    batch = torch.randn(n_windows, 105, 11)
    seconds = best_of(lambda: encoder(batch).square().mean().backward())
    torch.set_num_threads(2)
    seconds_two = best_of(lambda: encoder(batch).square().mean().backward())
    torch.set_num_threads(1)
    n_weights = sum(w.numel() for name, w in encoder.named_parameters() if "weight" in name)
    # Forward once, backward twice; 2 operations a weight and bar.
    operations = 3 * 2 * n_weights * n_windows * 105
    size = 1024
    left, right = torch.randn(size, size), torch.randn(size, size)
    product = 2 * size**3 / best_of(lambda: left @ right)
    return {
        "windows_per_s": n_windows / seconds,
        "share_of_matrix_product": operations / seconds / product,
        "two_threads_over_one": seconds / seconds_two,
    }


def main() -> None:
    """Measure, print one JSON object, and append it where --history says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=Path)
    options = parser.parse_args()
    result = {
        "commit": git_commit(),
        "machine": machine(),
        "versions": versions(),
        "features": features_against_naive(),
        "encoder_64x1": encoder_against_product(64, 1),
        "encoder_128x2": encoder_against_product(128, 2),
    }
    print(json.dumps(result, indent=2))
    if options.history:
        with options.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
