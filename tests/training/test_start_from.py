"""`pretrain-bilstm --start-from`: weights, scaler and record of the encoder before, and resuming to the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moola.core.bars import utc_text
from moola.errors import WrongUsage
from moola.files import sha256_file
from moola.models.model_files import BASE_FILE, BASE_NAME, read_encoder, write_encoder
from moola.options.training_options import PretrainOptions
from moola.provenance.learned_times import seen_among
from moola.stages.pretrain import pretrain
from moola.tables.window_file import write_windows
from tests.made import made_windows
from tests.networks_made import equal_weights, made_scaler, tiny_encoder

OLD = ["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"]
TABLE = made_windows(40, seed=3, stride=30, window_bars=30)


@pytest.fixture
def options(tmp_path: Path) -> PretrainOptions:
    write_windows(tmp_path / "windows.parquet", TABLE)
    record = {"time_range": OLD, "symbols": ["GOLD"], "timeframes": ["1d"]}
    write_encoder(tmp_path / "before.pt", tiny_encoder(7, hidden_dim=5), made_scaler(), 12, record)
    return PretrainOptions(
        input=tmp_path / "windows.parquet",
        output=tmp_path / "after.pt",
        start_from=tmp_path / "before.pt",
        epochs=2,
        batch_size=8,
        window_bars=30,
        device="cpu",
        arms=("masked", "structure"),
    )


def with_(options: PretrainOptions, **changes) -> PretrainOptions:
    from dataclasses import replace

    return replace(options, **changes)


def test_it_goes_on_from_the_weights_behind_their_scaler(options: PretrainOptions) -> None:
    pretrain(with_(options, learning_rate=1e-12), lambda _row: None)
    assert options.start_from is not None
    before, after = read_encoder(options.start_from), read_encoder(options.output)
    for name, weights in before.encoder.state_dict().items():
        np.testing.assert_allclose(after.encoder.state_dict()[name], weights, atol=1e-6)
    assert (after.scaler.center == before.scaler.center).all()
    assert (after.scaler.clip, after.window_bars) == (before.scaler.clip, 30)
    pretrain(options, lambda _row: None)
    assert not equal_weights(read_encoder(options.output).encoder, before.encoder)


def test_the_record_has_what_both_saw_and_both_count_as_seen(options: PretrainOptions) -> None:
    result = pretrain(options, lambda _row: None)
    record = read_encoder(options.output).pretraining
    (other,) = record["also_learned"]
    assert (other["time_range"], other["symbols"], other["timeframes"]) == (OLD, ["GOLD"], ["1d"])
    assert record["start_sha256"] == sha256_file(options.start_from)
    assert record["timeframes"] == ["1h"]
    assert result["time_range"] == record["time_range"] != OLD
    assert TABLE.start_us is not None
    hour = 3_600_000_000
    first = np.array([int(np.datetime64("2001-06-01T00:00", "us").astype(int)), TABLE.start_us[5], 10 * hour])
    found = seen_among(record, first, first + hour)
    assert found is not None
    assert found.tolist() == [True, True, False], utc_text(TABLE.start_us[5])


def test_stopped_and_resumed_it_ends_in_the_same_bytes(options: PretrainOptions, tmp_path: Path) -> None:
    pretrain(options, lambda _row: None)
    other = with_(options, output=tmp_path / "resumed.pt")

    def stop(_row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(other, stop)
    changed = with_(other, resume=True, start_from=tmp_path / "elsewhere.pt")
    write_encoder(tmp_path / "elsewhere.pt", tiny_encoder(8, hidden_dim=5), made_scaler(), 12, {})
    # A checkpoint that began at another encoder is another pretraining.
    with pytest.raises(WrongUsage):
        pretrain(changed, lambda _row: None)
    pretrain(with_(other, resume=True), lambda _row: None)
    assert sha256_file(other.output) == sha256_file(options.output)


@pytest.mark.parametrize("size", ["hidden_dim", "num_layers"])
def test_sizes_are_those_of_the_encoder_before_and_others_are_refused(options: PretrainOptions, size: str) -> None:
    with pytest.raises(WrongUsage, match=f"--{size.replace('_', '-')} must agree with the encoder of --start-from"):
        pretrain(with_(options, **{size: 3}), lambda _row: None)


def test_base_can_be_gone_on_from(options: PretrainOptions) -> None:
    pretrain(with_(options, start_from=BASE_NAME, epochs=1, arms=("masked",)), lambda _row: None)
    record = read_encoder(options.output).pretraining
    assert record["start"] == "base"
    assert record["start_sha256"] == sha256_file(BASE_FILE)
    assert record["also_learned"][0]["symbols"] == read_encoder(BASE_NAME).pretraining["symbols"]
