"""The Python face: what the commands do, on tables and arrays in memory. `import moola` gives these names.

None may be that of a package under moola (`reports`, `label`): importing the package would take its place.
"""

from moola.api.evaluate_frames import evaluate, report
from moola.api.frame_conversion import to_pandas
from moola.api.loaded_model import Model
from moola.api.notebook_stages import gate, import_bars, pretrain, read_spans, similar
from moola.api.plotting import plot
from moola.api.window_classifier import ForwardChaining, OverlapWarning, WindowClassifier
from moola.api.window_frames import autolabel, read_bars, read_windows, relative_features, sample_bars, split, windows
from moola.core.features import FEATURE_NAMES

__all__ = [
    "FEATURE_NAMES",
    "ForwardChaining",
    "Model",
    "OverlapWarning",
    "WindowClassifier",
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
