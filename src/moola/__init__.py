"""moola finds a trader's own chart patterns from few labels.

The names below are the Python face of the commands (docs/python.md): tables are frames of pandas,
polars or numpy, as the caller has them, the rest numpy arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moola.errors import MoolaError

if TYPE_CHECKING:
    from moola.api import (
        FEATURE_NAMES,
        ForwardChaining,
        Model,
        OverlapWarning,
        WindowClassifier,
        autolabel,
        evaluate,
        gate,
        import_bars,
        plot,
        pretrain,
        read_bars,
        read_spans,
        read_windows,
        relative_features,
        report,
        sample_bars,
        similar,
        split,
        to_pandas,
        windows,
    )

__version__ = "0.1.0"
__all__ = [
    "FEATURE_NAMES",
    "ForwardChaining",
    "Model",
    "MoolaError",
    "OverlapWarning",
    "WindowClassifier",
    "__version__",
    "autolabel",
    "evaluate",
    "gate",
    "import_bars",
    "plot",
    "pretrain",
    "read_bars",
    "read_spans",
    "read_windows",
    "relative_features",
    "report",
    "sample_bars",
    "similar",
    "split",
    "to_pandas",
    "windows",
]


def __getattr__(name: str) -> Any:
    # Found when asked for, so that `import moola` and `moola --help` load neither torch nor numpy.
    if name not in __all__:
        raise AttributeError(f"module 'moola' has no attribute {name!r}")
    from moola import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return list(__all__)
