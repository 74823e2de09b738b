"""The scripts of the supply, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/supply/{name}.py")
    module = importlib.util.module_from_spec(spec)
    # Its frozen dataclasses look their own module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def lock() -> ModuleType:
    return loaded("lock")


@pytest.fixture(scope="session")
def sbom() -> ModuleType:
    return loaded("sbom")
