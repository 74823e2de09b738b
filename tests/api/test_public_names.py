"""What `import moola` gives: exactly these names, found when asked for, with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import moola
from moola import api

MODULES = sorted(path.stem for path in Path(api.__file__).parent.glob("*.py") if ">>> " in path.read_text())
NAMES = [
    *("FEATURE_NAMES", "ForwardChaining", "Model", "MoolaError", "OverlapWarning", "WindowClassifier", "__version__"),
    *("autolabel", "evaluate", "gate", "import_bars", "plot", "pretrain", "read_bars", "read_spans", "read_windows"),
    *("relative_features", "report", "sample_bars", "similar", "split", "to_pandas", "windows"),
]


def test_the_names_are_exactly_these_and_all_are_there_with_an_example():
    assert moola.__all__ == dir(moola) == NAMES
    assert sorted(api.__all__) == api.__all__ == [name for name in NAMES if name not in ("MoolaError", "__version__")]
    assert all(getattr(moola, name) is not None for name in NAMES)
    assert not {path.stem for path in Path(moola.__file__).parent.iterdir()} & set(NAMES)
    with pytest.raises(AttributeError, match="module 'moola' has no attribute 'candles'"):
        _ = moola.candles
    assert Path(moola.__file__).with_name("py.typed").is_file()
    for name in set(api.__all__) - {"FEATURE_NAMES"}:
        assert "Examples\n--------\n>>> import moola\n" in (inspect.getdoc(getattr(moola, name)) or ""), name


def test_importing_loads_nothing_heavy():
    code = "import moola; moola.MoolaError, moola.__version__, dir(moola)\n"
    code += "import sys; sys.exit(bool({'torch', 'numpy', 'polars', 'pandas', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pandas_is_asked_for_where_it_is_needed(monkeypatch):
    # None in the table of modules: as if the package were not installed.
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(moola.MoolaError, match=r"a pandas frame, but it is not. Run `pip install moola\[pandas\]`\."):
        moola.to_pandas(moola.sample_bars()[:3])


@pytest.mark.slow
def test_pandas_and_pyplot_need_not_be_there_before_they_are_asked_for():
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\nimport moola\n"
        "moola.windows(moola.sample_bars(), stride=1000)\nassert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Those that fit a network take a second and more each.
LEARNING = ("evaluate_frames", "loaded_model", "notebook_stages", "window_classifier")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LEARNING else []) for name in MODULES]
)
def test_examples_run_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"moola.api.{name}"))
    assert result.attempted
    assert not result.failed
