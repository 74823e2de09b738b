"""The Python face: what the commands do, on tables and arrays in memory. `import moola` gives these names.

None may be that of a package under moola (`reports`, `label`): importing the package would take its place.
"""

from moola.core.features import FEATURE_NAMES
from moola.face.bars import read_bars, sample_bars
from moola.face.chaining import ForwardChaining
from moola.face.classifier import WindowClassifier
from moola.face.cutting import autolabel, read_windows, relative_features, split, windows
from moola.face.judging import evaluate, report
from moola.face.model import Model

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
