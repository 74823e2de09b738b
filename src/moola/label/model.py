"""What a model says of every window of the shelf: for the queue by uncertainty, and for the assist mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from moola.label.windows import Shelf

CHUNK = 4096


@dataclass(frozen=True)
class ModelAnswers:
    """Calibrated class probabilities, decoded pointers and pointer curves of each window."""

    class_names: list[str]
    class_prob: Float[np.ndarray, "windows classes"]
    pointers: Int[np.ndarray, "windows 2"]
    curves: Float[np.ndarray, "windows bars 2"] | None

    def entropy(self) -> Float[np.ndarray, " windows"]:
        """Return the entropy of each window's class probabilities in nats: 0 where the model is sure."""
        prob = np.clip(self.class_prob, 1e-12, 1.0)
        entropy: np.ndarray = -(self.class_prob * np.log(prob)).sum(axis=1)
        return entropy

    def of(self, number: int) -> dict[str, Any]:
        """Return what the page draws of one window."""
        start, end = (int(bar) for bar in self.pointers[number])
        curves = None if self.curves is None else np.round(self.curves[number].T, 5).tolist()
        shares = [round(float(share), 4) for share in self.class_prob[number]]
        return {
            "classes": dict(zip(self.class_names, shares, strict=True)),
            "start": start if start >= 0 else None,
            "end": end if end >= 0 else None,
            "curves": curves,
        }


def read_answers(path: Path, shelf: Shelf, device_name: str, threads: int) -> ModelAnswers:
    """Read every window with a model file, some thousands at a time.

    Raises
    ------
    InvalidData
        The windows have another length than the model's.
    UntrustedFile
        The model file is not what it must be.
    """
    from moola.models.files import read_model
    from moola.pipeline.predicting import predict_windows
    from moola.training.device import prepare_device

    device = prepare_device(device_name, threads)
    model = read_model(path)
    prob, pointers, curves = [], [], []
    for first in range(0, len(shelf), CHUNK):
        numbers = np.arange(first, min(first + CHUNK, len(shelf)))
        part = np.full(len(numbers), "new", dtype=object)
        found = predict_windows(model, shelf.table(numbers), np.arange(len(numbers)), part, device)
        prob.append(found.class_prob)
        pointers.append(found.predicted_bar)
        if found.curves is not None:
            curves.append(found.curves.astype(np.float32))
    return ModelAnswers(
        list(model.class_names),
        np.concatenate(prob),
        np.concatenate(pointers),
        np.concatenate(curves) if curves else None,
    )
