"""The wheel: all of the package and nothing else, small, and at work outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import polars as pl
import pytest

from tests.supply.conftest import ROOT

MOST_BYTES = 10_000_000
NEEDED = (
    "moola/models/base_encoder.pt",
    "moola/models/base_encoder.NOTICE.txt",
    "moola/label/static/index.html",
    "moola/label/static/vendor/NOTICE.txt",
    "moola/tables/sample_bars/eurusd_1h_2017.parquet",
    "moola/py.typed",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_it_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    mine = {name for name in names if name.startswith("moola/")}
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/moola").rglob("*") if path.is_file()}
    assert mine == {name for name in source if "__pycache__" not in name}
    assert mine >= set(NEEDED)
    others = {Path(name).parts[0] for name in names} - {"moola"}
    assert len(others) == 1
    assert others.pop().endswith(".dist-info")


def test_it_is_small_and_carries_licence_notice_and_extras(wheel):
    assert wheel.stat().st_size < MOST_BYTES
    archive = zipfile.ZipFile(wheel)
    info = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(info).decode())
    assert set(metadata.get_all("License-File")) == {"LICENSE", "NOTICE"}
    assert {"label", "onnx", "pandas", "tune"} <= set(metadata.get_all("Provides-Extra"))
    assert not [line for line in metadata.get_all("Requires-Dist") if line.startswith("pandas") and "extra" not in line]


@pytest.mark.slow
def test_it_runs_from_an_empty_environment_outside_the_checkout(wheel, tmp_path):
    # Dependencies are those of this environment, by a path; its link to the checkout's moola is not followed.
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    [packages] = (tmp_path / "venv").rglob("site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MOOLA"))}
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(*words: str) -> str:
        answer = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    python, moola = str(scripts / "python"), str(scripts / "moola")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    assert Path(run(python, "-c", "import moola; print(moola.__file__)").strip()).is_relative_to(tmp_path / "venv")
    assert "Ready." in run(moola, "doctor")
    run(moola, "sample", "--quick")
    relative, split = "data/processed/labeled/train_latest_relative.parquet", "data/splits/fwd_chain_v3.json"
    run(moola, "train", "--data", relative, "--split", split, "--pretrained-encoder", "base", "--device", "cpu")
    [model] = folder.glob("artifacts/runs/*/model.pkl")
    bars = "data/raw/eurusd_1h_2017.parquet"
    options = ("--output", "events.parquet", "--stride", "100", "--overview", "events.html", "--device", "cpu")
    run(moola, "scan", "--model", str(model), "--bars", bars, *options)
    assert len(pl.read_parquet(folder / "events.parquet"))
    assert "<title>" in (folder / "events.html").read_text()
    code = "import moola; print(len(moola.windows(moola.import_bars('mine.csv'), stride=1000)))"
    pl.read_parquet(folder / bars).rename({"timestamp": "Date"}).write_csv(folder / "mine.csv")
    assert run(python, "-c", code).strip() == "7"
