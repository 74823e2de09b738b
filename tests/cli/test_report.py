"""`moola report`: the page of a tiny run on the sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from moola.cli.console import ConsoleOptions
from moola.cli.judging_commands import report
from moola.errors import OperationFailed, UntrustedFile
from moola.options.judging_options import ReportOptions
from tests.conftest import DATA
from tests.reports.pages_made import Page


@pytest.fixture
def run_id(made_run) -> str:
    return made_run("--seed", "1").name


@pytest.fixture
def ask(capsys):
    def asked(run: str, **options) -> dict:
        capsys.readouterr()
        assert report(options=ReportOptions(run=Path(run), **options), console=ConsoleOptions(json=True)) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def test_page_of_a_run(run_id, ask, train, capsys):
    alone = ask(run_id)
    assert alone["report"] == f"artifacts/reports/{run_id}.html"
    assert alone["verdict"] is None
    assert "a gate must have a baseline" in alone["reason"]
    made = Path(alone["report"]).read_bytes()
    assert len(made) == alone["size_bytes"] < 3_000_000
    text = Page(made).text
    for said in (
        "a rule, not a person",
        "summary_trees",
        "No verdict.",
        "All metrics",
        "Class loss",
        "Pointer loss",
        "2017-07-07",
    ):
        assert said in text, said
    assert made.count(b"body up") == made.count(b"body down") == 20, "bars of every window of the gallery"
    assert f"moola train --data {DATA} --split" in text
    assert b"http:" not in made
    assert b"https:" not in made

    assert ask(run_id, output=Path("again.html"))["sha256"] == alone["sha256"], "same run, same bytes"

    other = train("--seed", "2").last_line
    judged = ask(run_id)
    assert judged["verdict"] in ("promote", "inconclusive", "hold")
    assert f"The gate: this run against {other}" in Page(Path(judged["report"]).read_bytes()).text
    named = ask(run_id, baseline=Path("artifacts/runs") / other)
    assert named["verdict"] == judged["verdict"]

    assert report(options=ReportOptions(run=Path(run_id))) == 0
    out = capsys.readouterr().out
    assert f"Report in artifacts/reports/{run_id}.html" in out
    assert out.splitlines()[-1].startswith("Next: moola ")


def test_promoted_run_is_its_own_baseline(run_id, ask):
    promoted_folder = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    promoted_folder.parent.mkdir(parents=True)
    shutil.copy(f"artifacts/runs/{run_id}/model.pkl", promoted_folder)
    assert "the one in use" in ask(run_id)["reason"]


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_data_that_is_not_there_is_said(run_id, ask, change):
    if change == "gone":
        Path(DATA).unlink()
    else:
        Path(DATA).write_bytes(Path(DATA).read_bytes() + b"x")
    result = ask(run_id)
    assert DATA in result["no_bars"]
    assert f"Bars are not drawn: {result['no_bars']}." in Page(Path(result["report"]).read_bytes()).text


def test_failures_leave_the_old_page(run_id, ask):
    before = ask(run_id)
    with pytest.raises(OperationFailed):
        ask(run_id, baseline=Path("20200101T000000Z-enhanced_simple_lstm-s1-00000000"))
    Path(f"artifacts/runs/{run_id}/predictions.parquet").write_bytes(b"other")
    with pytest.raises(UntrustedFile):
        ask(run_id)
    assert len(Path(before["report"]).read_bytes()) == before["size_bytes"]
    with pytest.raises(OperationFailed):
        ask("20200101T000000Z-enhanced_simple_lstm-s1-00000000")


@pytest.mark.slow
def test_the_page_of_a_cv_has_folds_seeds_references_and_the_merged_verdict(sample, moola, monkeypatch):
    monkeypatch.setenv("MOOLA_PROCESSES", "1")
    monkeypatch.setenv("MOOLA_SEEDS", "2")
    monkeypatch.setenv("MOOLA_CONTROLS", "false")
    names = [moola("cv", "--data", DATA, "--folds", "3", *more).last_line for more in ((), ("--augment-data", "false"))]
    answer = moola("report", "--run", names[0], "--baseline", names[1], "--compare", names[1], "--json")
    assert answer.code == 0, answer.err
    page = Path(answer.json["report"]).read_text()
    for heading in (
        "Folds",
        "Seeds",
        "Comparison",
        "the worst wins",
        "Uncertainty of a single window",
        "summary_trees",
    ):
        assert heading in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert answer.json["verdict"] in ("promote", "inconclusive", "hold")
    bare = moola("report", "--run", names[0], "--json").json
    # Without a baseline it is that of the cv itself, against the best cheap reference.
    against = json.loads(Path(f"artifacts/cv/{names[0]}/metrics.json").read_text())["against_reference"]
    assert bare["verdict"] == against["verdict"]
    assert bare["reason"].startswith(f"{against['reason']}. Against {against['reference']}, ")
