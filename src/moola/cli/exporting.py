"""The command that writes a model for other platforms."""

from __future__ import annotations

from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.export_options import ExportOptions


def export(*, options: Annotated[ExportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Write a model for use inside other platforms (ONNX).

    Raw features in, calibrated probabilities out.

    The file says in its metadata how features are made of bars. Needs the extra: pip install "moola[onnx]".

    Example: moola export --model artifacts/models/supervised/enhanced_baseline_v2_relative.pt --output model.onnx
    """
    from moola.pipeline import exporting

    result = exporting.export(options)
    screen = Screen(console)
    [(name, shape)] = result["input"].items()
    sizes = ", ".join(str(size) for size in shape)
    screen.say(f"{result['output']} ({result['size_bytes'] / 1e3:.0f} kB): {name} [{sizes}] in, "
               f"{' and '.join(result['outputs'])} out; classes {', '.join(result['class_names'])}.")  # fmt: skip
    off = result["largest_difference"]
    if off is None:
        screen.say("Not compared with the model: onnxruntime is not installed.")
    else:
        screen.say(f"In onnxruntime its probabilities are those of the model to {off:.1g}.")
    screen.result(result)
    return 0
