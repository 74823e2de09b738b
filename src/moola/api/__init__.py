"""The Python face: what the commands do, on tables and arrays in memory. `import moola` gives these names.

None may be that of a package under moola (`reports`, `label`): importing the package would take its place.
"""

from moola.api.evaluate_frames import evaluate, report
from moola.api.loaded_model import Model
from moola.api.sklearn_face import ForwardChaining, WindowClassifier
from moola.api.window_frames import autolabel, read_bars, read_windows, relative_features, sample_bars, split, windows
from moola.core.features import FEATURE_NAMES

__all__ = [
    "FEATURE_NAMES",
    "ForwardChaining",
    "Model",
    "WindowClassifier",
    "autolabel",
    "evaluate",
    "read_bars",
    "read_windows",
    "relative_features",
    "report",
    "sample_bars",
    "split",
    "windows",
]
