"""Files of every version that was released are read as they were meant; those of a later one are refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import moola
from moola.errors import InvalidData, UntrustedFile
from moola.fit.predicting import predict_windows
from moola.models import sealed
from moola.models.model_files import read_encoder, read_model, write_encoder, write_model
from moola.tables.label_store import LabelStore
from moola.tables.prediction_table import read_predictions
from moola.tables.split_file import read_split
from moola.tables.window_file import read_windows
from tests.networks_made import CPU, equal_weights

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path for path in GOLDEN.iterdir() if path.is_dir())
MODELS = [path for version in VERSIONS for path in sorted(version.glob("model_*.pkl"))]
each_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)


def test_this_version_has_its_files_and_they_are_small():
    assert moola.__version__ in [path.name for path in VERSIONS]
    for version in VERSIONS:
        assert sum(path.stat().st_size for path in version.iterdir()) < 200_000


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_a_model_says_what_it_said(path):
    table = read_windows(path.parent / "windows.parquet", 105)
    rows = np.arange(len(table))
    said = read_predictions(path.with_name(path.name.replace("model_", "said_").replace(".pkl", ".parquet")))
    now = predict_windows(read_model(path), table, rows, np.full(len(rows), "new", dtype=object), CPU)
    assert (now.window_id, now.class_names) == (said.window_id, said.class_names)
    np.testing.assert_allclose(now.class_prob, said.class_prob, rtol=0, atol=1e-6)
    np.testing.assert_allclose(now.pointer_prob, said.pointer_prob, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(now.predicted_bar, said.predicted_bar)
    assert (now.predicted_bar >= 0).all() == ("no_pointers" not in path.stem)


@each_version
def test_an_encoder_is_taken_whole_and_the_frozen_model_holds_it(version):
    encoder, model = read_encoder(version / "encoder.pt"), read_model(version / "model_frozen.pkl")
    assert encoder.n_tensors == len(encoder.encoder.state_dict())
    assert equal_weights(encoder.encoder, model.network.encoder)
    assert not equal_weights(encoder.encoder, read_model(version / "model_unfrozen.pkl").network.encoder)


@each_version
def test_a_split_has_the_rows_it_had(version):
    split = read_split(version / "split.json").split
    rows = {part: split.part(part).tolist() for part in ("train", "val", "test")}
    assert rows == json.loads((version / "split_rows.json").read_text())
    assert all(rows.values())


@each_version
def test_a_label_store_has_every_revision_it_had(version, tmp_path):
    shutil.copy(version / "labels.db", tmp_path)
    with LabelStore(tmp_path / "labels.db", must_exist=True) as store:
        labels = [label for one in store.all() for label in store.history(one.window_id, one.annotator)]
    said = json.loads((version / "labels.json").read_text())
    assert json.loads(json.dumps([asdict(label) for label in labels])) == said
    assert {label["status"] for label in said} == {"labelled", "rejected", "skipped"}


def test_a_network_file_of_a_later_version_is_refused_with_what_to_do(tmp_path, monkeypatch):
    encoder, model = read_encoder(VERSIONS[-1] / "encoder.pt"), read_model(MODELS[-1])
    with monkeypatch.context() as later:
        later.setattr(sealed, "FORMAT_VERSION", sealed.FORMAT_VERSION + 1)
        write_encoder(tmp_path / "e.pt", encoder.encoder, encoder.scaler, encoder.window_bars, encoder.pretraining)
        write_model(tmp_path / "m.pkl", model)
    for read, name in ((read_encoder, "e.pt"), (read_model, "m.pkl")):
        with pytest.raises(UntrustedFile, match=r"format version is 2, not 1.*Use the moola that wrote it\."):
            read(tmp_path / name)


def test_a_split_of_a_later_version_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "split.json"
    content = json.loads((VERSIONS[-1] / "split.json").read_text())
    assert content["format_version"] == 1
    path.write_text(json.dumps(content | {"format_version": 2}))
    with pytest.raises(InvalidData, match=r"of version 2\. Use the moola that wrote it"):
        read_split(path)


def test_a_label_store_of_a_later_version_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "labels.db"
    shutil.copy(VERSIONS[-1] / "labels.db", path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 4")
    connection.commit()
    connection.close()
    with pytest.raises(UntrustedFile, match=r"of version 4; it was left as it is\. Use the moola that made it"):
        LabelStore(path)
