"""`train --spans`: presence from files, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.core.bars import time_us
from moola.fit import presence_stages
from moola.models.model_files import read_model
from moola.options.study_options import CvOptions
from moola.runs.run_store import MODEL
from moola.stages import cv_events
from tests.faults.fault import run
from tests.fit.test_presence import HOUR_US, planted_chart
from tests.small import stay_small

N_BARS, LAST_ANNOTATED = 2_600, 2_400
TRAIN = ("train", "--data", "windows.parquet", "--split", "split.json", "--pretrained-encoder", "encoder.pt")
WITH = ("--bars", "bars.parquet", "--spans", "spans.csv", "--stretches", "stretches.csv")


def text_of(us: int) -> str:
    return str(np.datetime64(int(us), "us"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """Make bars, spans and their stretch, windows and an encoder; returns their folder, and when the bars begin."""
    folder = tmp_path_factory.mktemp("chart")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stay_small(patch)
        return folder, write_chart()


@pytest.fixture
def chart(made, tmp_path, monkeypatch) -> np.ndarray:
    """Work in a folder with all of it; returns when the bars begin."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    stay_small(monkeypatch)
    monkeypatch.setattr(presence_stages, "N_TREES", 40)
    return made[1]


def write_chart() -> np.ndarray:
    bars, spans, classes = planted_chart(5, 9_000)
    start_us = bars.start_us[:N_BARS]
    table = {"timestamp": pl.Series(start_us).cast(pl.Datetime("us", "UTC")), "symbol": ["X"] * N_BARS}
    names = ("open", "high", "low", "close")
    pl.DataFrame(table | {name: bars.ohlc[:N_BARS, i] for i, name in enumerate(names)}).write_parquet("bars.parquet")
    # Windows of the last spans reach no further than the last annotated bar but one.
    known = spans[:, 1] < LAST_ANNOTATED - 110
    rows = [
        {"symbol": "X", "start": text_of(start_us[a]), "end": text_of(start_us[b]), "label": ("down", "up")[one]}
        for (a, b), one in zip(spans[known], classes[known], strict=True)
    ]
    pl.DataFrame(rows).write_csv("spans.csv")
    ends = {"from": [text_of(start_us[0])], "to": [text_of(start_us[LAST_ANNOTATED])]}
    pl.DataFrame({"symbol": ["X"]} | ends).write_csv("stretches.csv")
    cut = ("windows", *WITH, "--background", "10", "--output", "windows.parquet")
    assert run(*cut).code == 0
    assert run("split", "--data", "windows.parquet", "--output", "split.json").code == 0
    small = ("--stride", "50", "--arms", "masked")
    assert run("pretrain-bilstm", "--input", "bars.parquet", "--output", "encoder.pt", *small).code == 0
    return start_us


BROKER = ("--timezone", "+03:00", "--columns", "start=Von", "end=Bis", "label=Klasse")


def as_broker_writes(path: Path) -> str:
    """Write a table with the times of a broker's clock and columns of its own names; returns its name."""
    late = [
        pl.col(name).str.to_datetime() + pl.duration(hours=3)
        for name in pl.read_csv(path).columns
        if name not in ("symbol", "label")
    ]
    names = {"start": "Von", "end": "Bis", "label": "Klasse"}
    pl.read_csv(path).with_columns(late).rename(names, strict=False).write_csv(f"broker_{path.name}")
    return f"broker_{path.name}"


def test_cv_reads_spans_as_a_broker_writes_them(chart):
    files = [Path("spans.csv"), Path("stretches.csv")]
    broker = [Path(as_broker_writes(path)) for path in files]
    usual, found = (
        cv_events.read_chart(CvOptions(spans=spans, stretches=stretches, bars=Path("bars.parquet"), **reading))
        for (spans, stretches), reading in ((files, {}), (broker, {"timezone": "+03:00", "columns": BROKER[3:]}))
    )
    assert np.array_equal(usual.rows, found.rows)
    assert np.array_equal(usual.looked[""], found.looked[""])


def test_presence_from_files_is_recorded_to_the_last_bar_and_leads_a_scan(chart, moola):
    broker = [as_broker_writes(Path(name)) for name in ("spans.csv", "stretches.csv")]
    files = ("--bars", "bars.parquet", "--spans", broker[0], "--stretches", broker[1], *BROKER)
    answer = moola(*TRAIN, *files, "--mirror-classes", "down:up", "--json")
    assert answer.code == 0, answer.err
    file = Path(answer.json["run"]) / MODEL
    model = read_model(file)
    assert model.presence is not None
    # Windows of the background are a class of the heads; presence knows no such event.
    assert model.class_names == ["background", "down", "up"]
    assert time_us(model.training["time_range"][1]) == chart[LAST_ANNOTATED] + HOUR_US
    assert "of these bars lie in test windows" in answer.err
    scan = ("scan", "--model", str(file), "--bars", "bars.parquet", "--output")
    found = moola(*scan, "events.parquet", "--json")
    assert found.code == 0, found.err
    assert set(found.json["predicted"]) == {"down", "up"}
    assert found.json["min_prob"] == pytest.approx(model.presence.threshold)
    prob = pl.read_parquet("events.parquet")["event_prob"]
    assert len(prob)
    assert prob.min() >= model.presence.threshold
    moola(*scan, "e.csv", "--overwrite", "--overview", "e.html")
    assert "Probability that a person would have marked it: at least" in Path("e.html").read_text()
    live = moola(*scan, "live.parquet", "--live")
    assert (live.code, "--live-presence" in live.err) == (2, True)


def test_without_stretches_events_are_ranked_and_what_cannot_be_known_is_told(chart, moola):
    answer = moola(*TRAIN, *WITH[:4], "--mirror-classes", "down:up", "--json")
    assert answer.code == 0, answer.err
    assert "unlabelled, not background" in answer.err
    assert "cannot be known" in answer.err
    record = answer.json["presence"]
    assert record["event_prob"] == "rank among marked pieces"
    assert "held_out_ap" not in record
    found = moola("scan", "--model", answer.json["run"] + "/model.pkl", "--bars", "bars.parquet", "--output", "e.csv")
    assert (found.code, "event_prob ranks" in found.out) == (0, True), found.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--spans", "spans.csv"), "--bars"),
        (("--bars", "bars.parquet", "--stretches", "stretches.csv"), "--stretches"),
        ((*WITH, "--no-freeze-encoder"), "frozen encoder"),
        ((*WITH, "--unlabelled", "bars.parquet"), "--unlabelled"),
    ],
)
def test_what_does_not_go_together_is_refused(chart, moola, options, says):
    answer = moola(*TRAIN, *options)
    assert (answer.code, says in answer.err) == (2, True), answer.err


def test_cv_evaluates_later_blocks_by_models_of_what_came_before(chart, moola):
    cv = ("cv", "--spans", "spans.csv", "--bars", "bars.parquet", "--pretrained-encoder", "encoder.pt")
    answer = moola(*cv, *WITH[4:], "--mirror-classes", "down:up", "--folds", "2", "--initial-fraction", "0.6", "--json")
    assert answer.code == 0, answer.err
    # What is said of the files is said of the user's, and not again of those made of them for each fold.
    assert "Encoder:" not in answer.err
    assert answer.err.count("Times carry") <= 2
    # The encoder learned from all of these bars; windows that teach are no reason to say so.
    assert answer.err.count("Not leak-proof") == 1
    assert answer.json["leaks"][0].endswith(" evaluated bars")
    folder, rows = Path(answer.json["cv"]), answer.json["by_fold"]
    spans = pl.read_csv("spans.csv", try_parse_dates=True)
    assert sum(row["n_spans"] for row in rows) == answer.json["n_spans"] == len(spans) - int(0.6 * len(spans))
    assert answer.json["figures"]["ap_iou50_class"]["value"] > 0.8
    for row in rows:
        # The recall of a fold is that of the events that its own threshold reports.
        alone = moola("eval", *("--events", str(folder / f"fold-{row['fold']}" / "events.parquet")), *WITH[:2],
                      *("--truth", "spans.csv", "--stretches", str(folder / f"fold-{row['fold']}" / "stretches.csv")),
                      *("--min-prob", str(row["threshold"])), "--json")  # fmt: skip
        assert row["recall"] == alone.json["figures"]["recall"]["value"]
        taught = pl.read_csv(folder / f"fold-{row['fold']}" / "spans.csv", try_parse_dates=True)
        bars = pl.read_parquet(folder / f"fold-{row['fold']}" / "bars.parquet")
        first = pl.Series([row["from"]]).str.to_datetime(time_zone="UTC", time_unit="us")[0]
        # One window less one bar lies between the last bar that teaches and the block.
        assert (first - bars["timestamp"].max()).total_seconds() / 3600 == 105
        assert taught["end"].dt.replace_time_zone("UTC").max() <= bars["timestamp"].max()
    events = pl.read_parquet(folder / "events.parquet")
    # Events behind the last annotated bar are found, and do not count.
    assert len(events) >= answer.json["n_events"] == sum(row["n_events"] for row in rows)
    assert events.select("start_ts", "end_ts").is_unique().all()
    gate = moola("gate", "--run", str(folder))
    assert (gate.code, "is of events" in gate.err) == (2, True)
    missing = moola(*cv)
    assert (missing.code, "--stretches" in missing.err) == (2, True)


@pytest.mark.parametrize("command", [TRAIN, ("cv", "--data", "windows.parquet"), ("benchmark", "--train", "none")])
def test_what_a_file_of_settings_says_of_spans_stops_no_command_without_them(chart, moola, command):
    Path("moola.toml").write_text('timezone = "Europe/Berlin"\n')
    answer = moola(*command, "--window-bars", "3")
    assert "nothing else is read by --timezone" in answer.err
    # The command went on, to what else is wrong with it.
    assert "Error: --judge" in answer.err or "Error: --window-bars" in answer.err or "3 bars" in answer.err


@pytest.mark.parametrize(
    ("late", "early", "says"),
    [
        ("down", "up", "Block 1: too few spans came before it to learn 1 down"),
        (None, None, "a model must learn from 10 spans"),
    ],
)
def test_cv_learns_from_the_classes_of_which_enough_came_before(chart, moola, late, early, says):
    spans = pl.read_csv("spans.csv")
    n = len(spans)
    labels = [early or f"class {i}" for i in range(n - 1)] + ["up"]
    if late is not None:
        labels[5], labels[-1] = late, late
    spans.with_columns(pl.Series("label", labels)).write_csv("spans.csv")
    cv = ("cv", "--spans", "spans.csv", "--bars", "bars.parquet", "--pretrained-encoder", "encoder.pt")
    answer = moola(*cv, *WITH[4:], "--mirror-classes", "same", "--folds", "2", "--initial-fraction", "0.6", "--json")
    assert says in answer.err
    assert answer.code == (0 if early else 3)
    if early:
        # Where nothing is, is what spans of one class are told from.
        model = read_model(Path(answer.json["cv"]) / "fold-1" / "model.pkl")
        assert model.class_names == ["background", "up"]
        assert answer.json["n_spans"] == n - int(0.6 * n)
    refused = moola(*cv, *WITH[4:], "--mirror-classes", "up:flat")
    assert (refused.code, "names 'flat'" in refused.err) == (2, True), refused.err


@pytest.mark.slow
def test_benchmark_learns_from_several_draws_and_evaluates_one_later_part(chart, moola):
    benchmark = ("benchmark", *WITH, "--pretrained-encoder", "encoder.pt", "--mirror-classes", "down:up", "--output",
                 "out", "--processes", "1", "--initial-fraction", "0.75", "--n-draws")  # fmt: skip
    answer = moola(*benchmark, "2", "--json")
    assert answer.code == 0, answer.err
    rows = {row["name"]: row["figures"] for row in answer.json["models"]}
    assert list(rows) == ["presence", "no presence", "random pieces", "strongest moves"]
    found = [row["ap_iou50_class"]["mean"] for row in rows.values()]
    # The planted moves are the strongest ones.
    assert found[0] > max(0.8, found[1])
    assert found[2] < 0.05
    assert rows["random pieces"]["event_ece"]["mean"] is None
    draws = answer.json["draws"]
    # Draws share no bar, and end one window before what is evaluated.
    assert draws[0]["learned_to"] <= draws[1]["learned_from"] < draws[1]["learned_to"] < draws[1]["judged_from"]
    assert [draw["n_judged"] for draw in draws] == [draws[0]["n_judged"]] * 2
    assert min(draw["n_train"] for draw in draws) >= 10
    assert [row["against"] for row in answer.json["differences"]] == ["no presence", "random pieces", "strongest moves"]
    again = moola(*benchmark, "2", "--json")
    assert again.json["n_done_before"] == 2
    assert again.json["models"] == answer.json["models"]
    assert "| presence | " in Path("out/benchmark.md").read_text()
    for given, says in ((("9",), "each draw must hold 10 spans"), (("2", "--train", "x"), "must go without")):
        refused = moola(*benchmark, *given)
        assert says in refused.err
        assert refused.code == (2 if "--train" in given else 3)
