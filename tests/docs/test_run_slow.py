"""Every command on a page and in a help text does what it is there for, in a small world."""

from __future__ import annotations

import shutil
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import DATA, SPLIT
from tests.docs.pages import LINES, PAGES, ROOT, examples, page_commands, why_not_run

pytestmark = pytest.mark.slow
BARS = "data/raw/eurusd_1h_2017.parquet"
LABELLED = "data/processed/labeled/train_latest.parquet"
ENCODER = "artifacts/encoders/pretrained/bilstm_mae_11d_v1.pt"
PROMOTED = "artifacts/models/supervised/enhanced_baseline_v2_relative.pt"
# Bars of the chart that a person marked; the rest come later.
N_MARKED = 4_000
SMALL = {
    "MOOLA_HIDDEN_DIM": "4",
    "MOOLA_NUM_LAYERS": "1",
    "MOOLA_EPOCHS": "1",
    "MOOLA_N_HEADS": "1",
    "MOOLA_DEVICE": "cpu",
}
# Options that pages give, at sizes for a test; the rest of each line stays.
SMALLER = {"--epochs 12": "--epochs 1", "--folds 5": "--folds 2", "--seeds 5": "--seeds 1", "--trials 30": "--trials 2"}
# A verdict is an answer, whichever it is.
VERDICTS = {"gate": (0, 4), "promote": (0, 4)}
RUNNABLE = [page for page in PAGES if any(name == page.relative_to(ROOT).as_posix() for name, _ in LINES)]


@pytest.fixture(scope="module")
def made_once(sample_made_once, tmp_path_factory) -> Path:
    """A folder in which each page's reader could be: sample, labels, an encoder, two runs, a cv, a promoted model."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(sample_made_once / "data", folder / "data")

    def do(line: str) -> None:
        answer = page_commands.run(line, folder, SMALL)
        assert answer.returncode == 0, answer.stderr

    do(f"moola pretrain-bilstm --input {BARS} --stride 50 --output {ENCODER}")
    for seed in (1, 2):
        do(f"moola train --data {DATA} --split {SPLIT} --seed {seed}")
    do(f"moola cv --data {DATA} --folds 2 --seeds 1")
    for store in ("data/labels.db", "artifacts/labels/labels.db"):
        do(f"moola labels import --store {store} --bars {BARS} --input {LABELLED} --annotator anna")
    (folder / PROMOTED).parent.mkdir(parents=True)
    # The older run's: what a page promotes is the newest one.
    shutil.copy(sorted(folder.glob("artifacts/runs/*/model.pkl"))[0], folder / PROMOTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files_of_the_reader()
    return folder


@pytest.fixture
def world(made_once, tmp_path, monkeypatch) -> Path:
    """A copy of it for one test."""
    folder = tmp_path / "reader"
    shutil.copytree(made_once, folder)
    monkeypatch.chdir(folder)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    return folder


def files_of_the_reader() -> None:
    """Write the files that pages take for the reader's own."""
    bars = pl.read_parquet(BARS)
    shutil.copy(BARS, "data/raw/mine.parquet")
    # Their clock is New York's, as the pages say: imported, they are the bars that the labels lie on.
    there = pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    bars.with_columns(there).write_csv("mine.csv")
    # Columns of another program, for the example of `bars import`.
    named = bars.rename({"timestamp": "Date"}).with_columns(pl.col("Date").dt.strftime("%Y-%m-%d %H:%M:%S"))
    named.head(600).write_csv("eurusd.csv")
    shutil.copy(BARS, "eurusd.parquet")
    marked_chart(bars)
    windows = pl.read_parquet(DATA)
    windows.head(100).with_columns(draw=pl.lit(0)).write_parquet("train.parquet")
    windows.tail(50).write_parquet("test.parquet")


def marked_chart(bars: pl.DataFrame) -> None:
    """Write a chart with the spans that a person could have marked on it, and a later one with its own."""
    windows = pl.read_parquet(LABELLED)
    closes = np.array(windows["features"].to_list())[..., 3]
    first, last = windows["expansion_start"].to_numpy(), windows["expansion_end"].to_numpy()
    row, times = np.arange(len(windows)), bars["timestamp"]
    begins = times.search_sorted(windows["start_ts"].cast(times.dtype))
    rises = closes[row, last] > closes[row, first]
    spans = pl.DataFrame(
        {
            "start": times.gather(begins.to_numpy() + first),
            "end": times.gather(begins.to_numpy() + last),
            "label": np.where(rises, "bull", "bear").tolist(),
        }
    ).with_columns(pl.col("start", "end").dt.strftime("%Y-%m-%d %H:%M"))
    cut = times[N_MARKED].strftime("%Y-%m-%d %H:%M")
    bars.head(N_MARKED).write_parquet("usdjpy.parquet")
    bars.slice(N_MARKED).write_parquet("later.parquet")
    spans.filter(pl.col("end") < cut).write_csv("flags.csv")
    spans.filter(pl.col("start") >= cut).write_csv("later_spans.csv")


def follow(lines: list[str], world: Path, moola) -> int:
    """Run lines one after the other as a reader would; return how many were run."""
    n_run = 0
    for written in lines:
        if why_not_run(written):
            continue
        line = reduce(lambda text, pair: text.replace(*pair), SMALLER.items(), written)
        words = page_commands.words_of(page_commands.filled(line, world))
        assert words[0] == "moola", line
        with pytest.MonkeyPatch.context() as patch:
            if "base" in words:
                # The encoder in the package has sizes of its own.
                patch.delenv("MOOLA_HIDDEN_DIM", raising=False)
                patch.delenv("MOOLA_NUM_LAYERS", raising=False)
            answer = moola(*words[1:])
        assert answer.code in VERDICTS.get(words[1], (0,)), f"{line}\n{answer.out}\n{answer.err}"
        n_run += 1
    return n_run


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page, world, moola):
    # Examples of help texts are run by the next test, each in a folder of its own.
    done = examples().values() if page.name == "commands.md" else ()
    lines = [line for line in page_commands.commands_of(page.read_text()) if line not in done]
    assert follow(lines, world, moola) == sum(not why_not_run(line) for line in lines)


@pytest.mark.parametrize(("command", "line"), examples().items(), ids=examples())
def test_an_example_of_a_help_text_runs(command, line, world, moola):
    if command == "sample":
        # It writes where nothing is yet.
        shutil.rmtree("data")
    assert follow([line], world, moola) == (0 if why_not_run(line) else 1)
