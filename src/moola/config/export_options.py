"""Options of `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`.

    Parameters
    ----------
    model
        Model file: a promoted .pt, or the model.pkl of a run.
    output
        File to write (.onnx).
    format
        Form of the file.
    """

    model: Path
    output: Path
    format: Literal["onnx"] = "onnx"
