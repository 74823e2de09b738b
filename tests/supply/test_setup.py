"""Set-up: which environment it takes, and what it says where pip gets nothing. pip is a stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.supply.conftest import ROOT

# Stands for an interpreter of some version; `-m venv FOLDER` copies it and makes a pip beside it.
PYTHON = """#!/bin/bash
case "$*" in
    *join*version_info*) echo VERSION ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0-pip" "$3/bin/pip" ;;
esac
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    shutil.copytree(ROOT / "scripts/supply/locks", tmp_path / "scripts/supply/locks")
    for name in ("setup.sh", "venv.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(tree: Path, version: str, pip: str = "exit 0") -> subprocess.CompletedProcess:
    python = tree / f"python{version}"
    beside = tree / f"{python.name}-pip"
    python.write_text(PYTHON.replace("VERSION", version))
    beside.write_text(f'#!/bin/bash\necho "$@" >>pip-calls\n{pip}\n')
    for path in (python, beside):
        path.chmod(0o755)
    env = os.environ | {"PYTHON": str(python)}
    return subprocess.run([tree / "scripts/setup.sh", "dev"], env=env, capture_output=True, text=True, check=False)


def test_each_python_has_an_environment_of_its_own(tree):
    assert set_up(tree, "3.11.7").returncode == 0
    assert (tree / ".venv/.moola-dev").is_file()
    assert set_up(tree, "3.13.0").returncode == 0
    assert (tree / ".venv-3.13.0/.moola-dev").is_file()
    n_calls = len((tree / "pip-calls").read_text().splitlines())
    # A second time there is nothing to do for either.
    for version in ("3.11.7", "3.13.0"):
        assert set_up(tree, version).stdout == ""
    assert len((tree / "pip-calls").read_text().splitlines()) == n_calls == 6


def installs(tree: Path) -> list[str]:
    """What pip was asked to install: the last word of each call."""
    return [
        line.split()[-1].removeprefix("scripts/supply/locks/") for line in (tree / "pip-calls").read_text().splitlines()
    ]


def test_everything_is_installed_by_hash_and_moola_with_what_is_there(tree):
    set_up(tree, "3.12.1")
    torch, others, own = (tree / "pip-calls").read_text().splitlines()
    for call, name in ((torch, "cpu"), (others, "dev")):
        assert f"--require-hashes -r scripts/supply/locks/{name}.txt" in call
        assert "--no-deps" in call
    assert "--no-build-isolation --no-index -e ." in own


NO_CPU_BUILD = """\
case "$*" in *cpu.txt) echo "{}" >&2; exit 1 ;; esac"""


@pytest.mark.parametrize(
    "pip_says",
    [
        "ERROR: No matching distribution found for torch==2.13.0+cpu",
        # What pip says instead where its settings name constraints.
        "ERROR: ResolutionImpossible: for help visit the page",
    ],
)
def test_the_build_for_cuda_is_installed_only_where_no_index_has_the_other(tree, pip_says):
    done = set_up(tree, "3.12.1", NO_CPU_BUILD.format(pip_says))
    assert done.returncode == 0
    assert installs(tree) == ["cpu.txt", "cuda.txt", "dev.txt", "."]
    assert "GB more" in done.stdout


@pytest.mark.parametrize("pip_says", ["DO NOT MATCH THE HASHES", "ERROR: No space left on device"])
def test_a_cpu_build_that_is_there_and_fails_is_not_replaced(tree, pip_says):
    done = set_up(tree, "3.12.1", NO_CPU_BUILD.format(pip_says))
    assert done.returncode == 1
    assert installs(tree) == ["cpu.txt"]


@pytest.mark.parametrize(
    ("pip_says", "told"),
    [
        ("ERROR: No matching distribution found for attrs==1 (from versions: none)", "name an index"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "the index gave another file"),
        ("ERROR: No space left on device", "pip ended with: ERROR: No space left on device"),
    ],
)
def test_where_pip_gets_nothing_one_sentence_says_why(tree, pip_says, told):
    done = set_up(tree, "3.11.7", f'for i in 1 2 3 4 5 6 7 8; do echo noise; done; echo "{pip_says}" >&2; exit 1')
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert told in line
    assert not (tree / ".venv/.moola-dev").exists()
