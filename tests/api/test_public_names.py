"""What `import moola` gives: exactly these names, found when asked for, with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import moola
from moola import api

MODULES = (
    "evaluate_frames",
    "frame_conversion",
    "loaded_model",
    "plotting",
    "notebook_stages",
    "window_classifier",
    "window_frames",
)
NAMES = [
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


def test_the_names_are_exactly_these_and_all_are_there():
    assert moola.__all__ == NAMES
    assert sorted(api.__all__) == api.__all__ == [name for name in NAMES if name not in ("MoolaError", "__version__")]
    assert all(getattr(moola, name) is not None for name in NAMES)


def test_dir_shows_them_alone():
    assert dir(moola) == NAMES


def test_no_name_is_that_of_a_package():
    assert not {path.stem for path in Path(moola.__file__).parent.iterdir()} & set(NAMES)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'moola' has no attribute 'candles'"):
        _ = moola.candles


@pytest.mark.parametrize("line", ["import moola", "import moola; moola.MoolaError, moola.__version__, dir(moola)"])
def test_importing_loads_nothing_heavy(line):
    code = f"{line}\nimport sys; sys.exit(bool({{'torch', 'numpy', 'polars', 'pandas', 'sklearn'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pandas_and_pyplot_need_not_be_there_before_they_are_asked_for():
    # None in the table of modules: as if the package were not installed.
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\nimport moola\n"
        "windows = moola.windows(moola.sample_bars(), stride=1000)\nassert 'matplotlib.pyplot' not in sys.modules\n"
        "try:\n    moola.to_pandas(windows)\nexcept moola.MoolaError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == ("pandas must be installed for a pandas frame, but it is not. Run `pip install moola[pandas]`.\n")


def test_the_package_says_that_it_is_typed():
    assert (files("moola") / "py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"moola.api.{name}"))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", [name for name in api.__all__ if name != "FEATURE_NAMES"])
def test_every_name_has_an_example(name):
    doc = inspect.getdoc(getattr(moola, name))
    assert doc is not None
    assert "Examples\n--------\n>>> import moola\n" in doc
