"""What a GPU does: `python benchmarks/gpu.py --bars FILE [--seconds 120] [--json FILE]`.

Pretraining of 2 x 128 in windows a second and as a share of the device's product of matrices of the same type (bfloat16
on a GPU); 50 epochs of 11,873 windows with targets made by the host; and how far its figures are from the CPU's.
Without a GPU it says so and measures the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moola.core.features import N_FEATURES, RobustScaler
from moola.core.windows import WINDOW_BARS
from moola.fit.synthetic import taker
from moola.models.network import BiLSTMEncoder, EncoderArchitecture, build_encoder
from moola.tables.bar_table import read_bars
from moola.tables.cutting import BarSource, cut_within_gaps
from moola.training.device import prepare_device, training_dtype
from moola.training.encoder_training import DEFAULT_ARMS, Pretraining, PretrainPlan, build_pretraining
from moola.training.loop import FitPlan, fit
from moola.training.pretext_tasks import MaskPlan

N_WINDOWS, N_EPOCHS = 11_873, 50
PRODUCT_ROWS = {"cuda": 8192, "cpu": 512}
# The last bits differ with the order of sums; these bounds are stated in docs/howto/gpu.md.
MOST_APART_VECTOR, MOST_APART_LOSS = 1e-3, 1e-2


class OutOfTime(Exception):
    """The seconds are over."""


def seconds_of(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Mean seconds of some calls, after two that warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    call()
    call()
    wait()
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - begun) / repeats


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a square product of matrices."""
    rows = PRODUCT_ROWS[device.type]
    left, right = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
    return 2 * rows**3 / seconds_of(lambda: left @ right, device, 10)


def operations_a_window(encoder: BiLSTMEncoder) -> int:
    """Multiplications and additions of the LSTM's products forward and backward (three times forward)."""
    weights = sum(w.numel() for name, w in encoder.lstm.named_parameters() if name.startswith("weight"))
    return 3 * 2 * weights * WINDOW_BARS


def encoder_rates(device: torch.device, repeats: int) -> dict[str, Any]:
    """Windows a second of 2 x 128, forward and backward with its optimiser's step, by batch size."""
    dtype = training_dtype("auto", device)
    product, found = product_rate(device, dtype), {}
    for batch in (128, 256, 1024, 4096) if device.type == "cuda" else (128,):
        encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, 128, 2), 0).to(device)
        encoder.training_dtype = dtype
        features = torch.randn(batch, WINDOW_BARS, N_FEATURES, device=device)
        optimiser = torch.optim.AdamW(encoder.parameters())

        def step(
            encoder: BiLSTMEncoder = encoder,
            features: torch.Tensor = features,
            optimiser: torch.optim.Optimizer = optimiser,
        ) -> None:
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(encoder(features).square().mean())
            optimiser.step()

        rate = batch / seconds_of(step, device, repeats)
        found[str(batch)] = {
            "windows_per_s": round(rate),
            "share_of_product": rate * operations_a_window(encoder) / product,
        }
    return {"product_tflops": product / 1e12, "dtype": str(dtype), "batches": found}


def objective_of(
    source: BarSource, rows: np.ndarray, device: torch.device, batch_size: int, epoch_windows: int, precision: str
) -> Pretraining:
    """Return what `pretrain-bilstm` trains by default, 2 x 128."""
    scaler = RobustScaler.fit(source.features(rows[:: max(len(rows) // 2000, 1)]))
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, 128, 2), 17)
    encoder.training_dtype = training_dtype(precision, device)
    module = build_pretraining(encoder, DEFAULT_ARMS, WINDOW_BARS, 17)
    plan = PretrainPlan(MaskPlan("patch", 0.15, 7), True, epoch_windows, batch_size, 2e-3, 17, device)
    objective = Pretraining(module, taker(source, scaler), rows[:-500], rows[-500:], plan)
    objective.fit_arms(rows[:2000])
    return objective


def whole_pretraining(source: BarSource, device: torch.device, seconds: float) -> dict[str, Any]:
    """50 epochs of 11,873 windows with the default tasks, targets made by the host; stops when the seconds are over."""
    rows = np.arange(min(len(source), N_WINDOWS + 500))
    objective = objective_of(source, rows, device, 1024, 0, "auto")
    begun, took = time.monotonic(), []

    def on_epoch(_row: dict[str, Any]) -> None:
        took.append(time.monotonic() - begun)
        if took[-1] + took[0] > seconds:
            raise OutOfTime

    with contextlib.suppress(OutOfTime):
        fit(objective, FitPlan(N_EPOCHS, 0, 0.01, 17), on_epoch)
    return {
        "windows": len(rows) - 500,
        "epochs": len(took),
        "seconds": took[-1],
        "windows_per_s": round((len(rows) - 500) * len(took) / took[-1]),
        "seconds_of_50_epochs": took[-1] / len(took) * N_EPOCHS,
    }


def against_cpu(source: BarSource, device: torch.device) -> dict[str, Any]:
    """Vectors of one encoder, and losses of the first two epochs in float32, on this device and on the CPU."""
    rows = np.arange(min(len(source), 1500))
    features = torch.randn(64, WINDOW_BARS, N_FEATURES, generator=torch.Generator().manual_seed(0))
    encoder = build_encoder(EncoderArchitecture("bilstm", N_FEATURES, 128, 2), 0).eval()
    with torch.no_grad():
        there = encoder(features)
        here = encoder.to(device)(features.to(device)).cpu()
        # Of cuDNN alone; with it off, products of float32 numbers keep all their bits.
        torch.backends.cudnn.allow_tf32, usual = False, torch.backends.cudnn.allow_tf32
        exact = encoder(features.to(device)).cpu()
        torch.backends.cudnn.allow_tf32 = usual
    apart = float((there - here).abs().max())
    losses = {}
    for one in (torch.device("cpu"), device):
        history: list[dict[str, Any]] = []
        fit(
            objective_of(source, rows, one, 128, 0, "float32"),
            FitPlan(2, 0, 0.01, 17),
            history.append,
        )
        losses[one.type] = [row["val_loss"] for row in history]
    relative = max(abs(a / b - 1) for a, b in zip(losses["cpu"], losses[device.type], strict=True))
    return {
        "vectors_apart_at_most": apart,
        "vectors_apart_without_tf32": float((there - exact).abs().max()),
        "val_losses": losses,
        "losses_apart_at_most": relative,
        "agree": apart <= MOST_APART_VECTOR and relative <= MOST_APART_LOSS,
    }


def source_of(path: Path) -> BarSource:
    """Cut windows of bars at stride 1."""
    bars = read_bars(path)
    return BarSource(bars, cut_within_gaps(bars, 1, WINDOW_BARS, None, path).first_bar, WINDOW_BARS)


PARTS = ("rates", "whole", "against_cpu")


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0, help="longest time of the 50 epochs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of what is compared")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = prepare_device("auto", given.threads)
    source = source_of(given.bars)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "no GPU found: the CPU",
        "torch": torch.__version__,
    }
    if "rates" in given.parts:
        found["encoder"] = encoder_rates(device, 20 if device.type == "cuda" else 1)
    if "against_cpu" in given.parts:
        found["against_cpu"] = against_cpu(source, device)
    if "whole" in given.parts:
        found["whole"] = whole_pretraining(source, device, given.seconds)
    text = json.dumps(found, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text)


if __name__ == "__main__":
    main()
