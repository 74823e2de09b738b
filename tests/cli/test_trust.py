"""The same answer on the terminal, the card, the report and the page of a scan."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import DATA, SPLIT

BARS = "data/raw/eurusd_1h_2017.parquet"


def answer_in(text: str) -> str:
    return text[text.index("Should I trust it?") :].splitlines()[0]


def test_eval_gate_card_and_report_say_the_same(made_run, moola):
    run = made_run()
    assert "Not asked yet" in answer_in((run / "model_card.md").read_text())
    moola("train", "--data", DATA, "--split", SPLIT, "--seed", "18")
    said = answer_in(moola("eval", "--run", run.name).out)
    assert "Not yet better than guessing" in said or "Better than guessing, not than the from-scratch run" in said
    assert answer_in(moola("gate", "--run", run.name).out) == said
    assert (
        said.replace("_", "\\_") in (run / "model_card.md").read_text() or said in (run / "model_card.md").read_text()
    )
    page = Path(moola("report", "--run", run.name, "--json").json["report"]).read_text()
    assert said.split(":")[0] in page


def test_the_page_of_a_scan_names_model_run_labels_and_learned_times(made_run, moola):
    run = made_run()
    scan = (
        "scan",
        "--bars",
        BARS,
        "--stride",
        "30",
        "--min-prob",
        "0",
        "--output",
        "e.parquet",
        "--overview",
        "o.html",
    )
    moola("eval", "--run", run.name)
    said = moola(*scan, "--model", run / "model.pkl", "--json").json
    assert said["run_id"] == run.name
    page = Path("o.html").read_text()
    assert f"run {run.name}; labels by rule:prior-state-1" in page
    assert said["trust"].split(":")[0] in page
    packed = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    (symbol,) = packed["symbols"]
    assert sum(symbol["events"]["learned"]) == said["n_learned"] > 0
    assert "lie in the times of the labels that the model learned from" in page
    # A model of elsewhere has no run here.
    Path("elsewhere.pkl").write_bytes((run / "model.pkl").read_bytes())
    known = moola(*scan, "--model", "elsewhere.pkl", "--json").json
    assert known["run_id"] == run.name
    (run / "manifest.json").unlink()
    unknown = moola(*scan, "--model", "elsewhere.pkl", "--json").json
    assert unknown["run_id"] is None
    assert "Not known: its run is not here" in unknown["trust"]


def test_a_cv_has_a_verdict_against_the_best_cheap_reference(sample, moola):
    given = ("cv", "--data", DATA, "--folds", "2", "--seeds", "1", "--processes", "1", "--epochs", "1")
    answer = moola(*given, "--json")
    assert answer.code == 0, answer.err
    against = answer.json["against_reference"]
    briers = {name: row["brier"] for name, row in answer.json["references"].items()}
    assert briers[against["reference"]] == min(briers.values())
    assert against["verdict"] in ("promote", "inconclusive", "hold")
    page = Path(moola("report", "--run", answer.json["cv"], "--json").json["report"]).read_text()
    assert f"Verdict: {against['verdict']}." in page
    assert "Should I trust it?" in page
