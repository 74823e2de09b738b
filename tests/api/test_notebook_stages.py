"""Stages by name: what the commands do, and what a notebook shows of their answers."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import moola as face
from moola.api import notebook_stages
from moola.errors import OperationFailed, WrongUsage
from moola.files import sha256_file
from moola.models.model_files import read_encoder
from tests.api.faced import model_of_28
from tests.networks_made import equal_weights

BARS = Path("data/raw/eurusd_1h_2017.parquet")
SMALL = {"stride": 100, "epochs": 1, "hidden_dim": 4, "num_layers": 1, "device": "cpu"}


@pytest.mark.slow
@pytest.mark.slow
def test_pretraining_gives_the_encoder_of_the_command(sample, moola, tmp_path):
    options = ("--stride", "100", "--epochs", "1", "--hidden-dim", "4", "--num-layers", "1", "--device", "cpu")
    assert moola("pretrain-bilstm", "--input", BARS, "--output", "by_command.pt", *options).code == 0
    theirs, bars = read_encoder(Path("by_command.pt")), face.read_bars(BARS)
    for data in (str(BARS), bars, bars.to_pandas().set_index("timestamp"), face.windows(bars, stride=100)):
        before = {path for path in Path().rglob("*") if path.is_file()}
        record = face.pretrain(data, tmp_path / "encoder.pt", **SMALL)
        assert {path for path in Path().rglob("*") if path.is_file()} - before <= {Path("encoder.pt")}
        assert equal_weights(read_encoder(tmp_path / "encoder.pt").encoder, theirs.encoder)
        assert record["encoder_sha256"] == sha256_file(tmp_path / "encoder.pt")
        Path("encoder.pt").unlink()
    assert "<caption>Encoder</caption>" in record._repr_html_()
    assert f"<td>{record['encoder_sha256']}</td>" in record._repr_html_()


@pytest.mark.slow
def test_the_gate_says_what_the_command_says(made_run, train, moola):
    run, baseline = made_run(), train("--seed", "5", "--json").json["run"]
    answer = moola("gate", "--run", run, "--baseline", baseline, "--min-gain", "0.02", "--json").json
    before = {path: path.read_bytes() for path in Path("artifacts").rglob("*") if path.is_file()}
    verdict = face.gate(str(run), baseline=baseline, min_gain=0.02)
    assert json.loads(json.dumps(verdict)) == answer
    changed = [
        path for path in Path("artifacts").rglob("*") if path.is_file() and path.read_bytes() != before.get(path)
    ]
    assert changed == [Path("artifacts/gates/looks.jsonl")]
    shown = verdict._repr_html_()
    assert f"<caption>{verdict['verdict']}: " in shown
    assert all(f"<td>{row['metric']}</td>" in shown for row in verdict["comparisons"])
    assert not Path("artifacts/models").exists()


def test_options_are_those_of_the_commands(tmp_path):
    with pytest.raises(WrongUsage, match=r"an option must be one of .*stride.*, but epoch is none"):
        face.pretrain(face.sample_bars(), tmp_path / "encoder.pt", epoch=3)
    with pytest.raises(WrongUsage, match=r"an option must be one of .*baseline.*, but against is none"):
        face.gate("run", against="other")
    with pytest.raises(OperationFailed, match="nothing"):
        face.gate("nothing")


def test_spans_are_read_on_bars_of_any_kind(sample, tmp_path):
    bars = face.read_bars(BARS)
    spans = bars.select(start="timestamp", end=pl.col("timestamp").shift(-8))[[100, 300]]
    (tmp_path / "spans.csv").write_text(
        spans.with_columns(pl.all().dt.strftime("%d.%m.%Y %H:%M"), kind=pl.lit("flag"))
        .rename({"start": "Von", "end": "Bis"})
        .write_csv(separator=";")
    )
    read = face.read_spans(tmp_path / "spans.csv", bars, columns={"start": "Von", "end": "Bis"}, annotator="anna")
    assert read.select("start", "end").equals(spans)
    assert read["label"].to_list() == ["flag", "flag"]
    assert set(read["annotator"]) == {"anna"}
    by_pandas = face.read_spans(
        tmp_path / "spans.csv", bars.to_pandas(), columns={"start": "Von", "end": "Bis"}, annotator="anna"
    )
    assert by_pandas.equals(face.to_pandas(read))


def test_a_notebook_shows_what_a_model_is_and_escapes_what_it_shows():
    shown = model_of_28()._repr_html_()
    for told in (
        *("consolidation, retracement", "<td>bars of a window</td><td>30</td>", "<td>points to bars</td><td>yes"),
    ):
        assert told in shown
    shown = notebook_stages.Record("<b>", {"<b>": "<b>", "none": None, "of": [1.5, {"a": False}]})._repr_html_()
    assert "<b>" not in shown
