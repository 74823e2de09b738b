"""Pages, cards and the terminal say the same: the page of a tiny run on the sample, of a scan and of a cv."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from moola.cli.console import ConsoleOptions
from moola.cli.judging_commands import report
from moola.errors import OperationFailed, UntrustedFile
from moola.options.judging_options import ReportOptions
from tests.conftest import DATA, RUNS
from tests.reports.pages_made import Page

SCAN = (
    *("scan", "--bars", "data/raw/eurusd_1h_2017.parquet", "--stride", "90", "--min-prob", "0"),
    *("--output", "e.parquet", "--overview", "o.html", "--json", "--model"),
)


def answer_in(text: str) -> str:
    return text[text.index("Should I trust it?") :].splitlines()[0]


def test_eval_gate_card_report_and_page_of_a_scan_say_the_same(two_runs, moola):
    run, _ = two_runs
    card = RUNS / run / "model_card.md"
    assert "Not evaluated yet" in answer_in(card.read_text())
    said = answer_in(moola("eval", "--run", run).out)
    assert "Not yet better than guessing" in said or "Better than guessing, not than the from-scratch run" in said
    assert answer_in(moola("gate", "--run", run).out) == said
    assert answer_in(card.read_text()).replace("\\_", "_").rstrip("*") == said
    page = Path(moola("report", "--run", run, "--json").json["report"]).read_text()
    assert said.split(":")[0] in page

    model = RUNS / run / "model.pkl"
    told = moola(*SCAN, model).json
    assert told["run_id"] == run
    page = Path("o.html").read_text()
    assert f"run {run}; labels by rule:prior-state-1" in page
    assert told["trust"].split(":")[0] in page
    packed = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    (symbol,) = packed["symbols"]
    assert sum(symbol["events"]["learned"]) == told["n_learned"] > 0
    assert "lie in the times of the labels that the model learned from" in page
    # A model of elsewhere has no run here, unless a run here has its bytes.
    Path("elsewhere.pkl").write_bytes(model.read_bytes())
    assert moola(*SCAN, "elsewhere.pkl").json["run_id"] == run
    (RUNS / run / "manifest.json").unlink()
    unknown = moola(*SCAN, "elsewhere.pkl").json
    assert unknown["run_id"] is None
    assert "Not known: its run is not here" in unknown["trust"]


@pytest.fixture
def ask(capsys):
    def asked(run: str, **options) -> dict:
        capsys.readouterr()
        assert report(options=ReportOptions(run=Path(run), **options), console=ConsoleOptions(json=True)) == 0
        return json.loads(capsys.readouterr().out)

    return asked


@pytest.mark.slow
def test_page_of_a_run_alone_beside_another_and_in_use(two_runs, ask, capsys):
    run_id, other = two_runs
    (RUNS / other).rename("aside")
    alone = ask(run_id)
    assert alone["report"] == f"artifacts/reports/{run_id}.html"
    assert alone["verdict"] is None
    assert "a gate must have a baseline" in alone["reason"]
    made = Path(alone["report"]).read_bytes()
    assert len(made) == alone["size_bytes"] < 3_000_000
    text = Page(made).text
    words = ("a rule, not a person", "summary_trees", "No verdict.", "All metrics", "Class loss", "Pointer loss")
    for said in (*words, "2017-07-07", f"moola train --data {DATA} --split"):
        assert said in text, said
    assert made.count(b"body up") == made.count(b"body down") == 20, "bars of every window of the gallery"
    assert b"http:" not in made
    assert b"https:" not in made
    assert ask(run_id, output=Path("again.html"))["sha256"] == alone["sha256"], "same run, same bytes"

    Path("aside").rename(RUNS / other)
    judged = ask(run_id)
    assert judged["verdict"] in ("promote", "inconclusive", "hold")
    assert f"The gate: this run against {other}" in Page(Path(judged["report"]).read_bytes()).text
    assert report(options=ReportOptions(run=Path(run_id), baseline=RUNS / other)) == 0
    out = capsys.readouterr().out
    assert f"Report in artifacts/reports/{run_id}.html" in out
    assert out.splitlines()[-1].startswith("Next: moola ")

    promoted = Path("artifacts/models/supervised/enhanced_baseline_v2_relative.pt")
    promoted.parent.mkdir(parents=True)
    shutil.copy(RUNS / run_id / "model.pkl", promoted)
    assert "the one in use" in ask(run_id)["reason"]


def test_data_that_is_not_there_is_said_and_failures_leave_the_old_page(two_runs, ask):
    run_id, _ = two_runs
    Path(DATA).write_bytes(Path(DATA).read_bytes() + b"x")
    assert DATA in ask(run_id)["no_bars"]
    Path(DATA).unlink()
    before = ask(run_id)
    assert DATA in before["no_bars"]
    assert f"Bars are not drawn: {before['no_bars']}." in Page(Path(before["report"]).read_bytes()).text
    nowhere = Path("20200101T000000Z-enhanced_simple_lstm-s1-00000000")
    with pytest.raises(OperationFailed):
        ask(run_id, baseline=nowhere)
    (RUNS / run_id / "predictions.parquet").write_bytes(b"other")
    with pytest.raises(UntrustedFile):
        ask(run_id)
    assert len(Path(before["report"]).read_bytes()) == before["size_bytes"]
    with pytest.raises(OperationFailed):
        ask(str(nowhere))


@pytest.mark.slow
def test_the_page_of_a_cv_has_folds_seeds_references_and_the_merged_verdict(sample, moola, monkeypatch):
    monkeypatch.setenv("MOOLA_PROCESSES", "1")
    monkeypatch.setenv("MOOLA_SEEDS", "2")
    monkeypatch.setenv("MOOLA_CONTROLS", "false")
    names = [moola("cv", "--data", DATA, "--folds", "3", *more).last_line for more in ((), ("--augment-data", "true"))]
    answer = moola("report", "--run", names[0], "--baseline", names[1], "--compare", names[1], "--json").ends(0)
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
