"""The same answer on the terminal, the card, the report and the page of a scan."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import RUNS

SCAN = (
    *("scan", "--bars", "data/raw/eurusd_1h_2017.parquet", "--stride", "90", "--min-prob", "0"),
    *("--output", "e.parquet", "--overview", "o.html", "--json", "--model"),
)


def answer_in(text: str) -> str:
    return text[text.index("Should I trust it?") :].splitlines()[0]


def test_eval_gate_card_report_and_page_of_a_scan_say_the_same(two_runs, moola):
    run, _ = two_runs
    card = RUNS / run / "model_card.md"
    assert "Not asked yet" in answer_in(card.read_text())
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
