"""What may be chosen: declared ranges, and a file that replaces some."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from moola.errors import WrongUsage
from moola.options.study_options import HELD, Choices, Range, TuneOptions, declared_ranges, read_ranges, tunable
from moola.options.training_options import TrainOptions


def test_what_is_declared_exists_in_train_and_holds_its_default(tmp_path: Path) -> None:
    defaults = TrainOptions(data=tmp_path, split=tmp_path, hidden_dim=64, freeze_encoder=True)
    for with_encoder in (False, True):
        ranges = declared_ranges(with_encoder)
        assert set(ranges) <= set(tunable())
        for name, found in ranges.items():
            assert found.holds(getattr(defaults, name)), name
    assert "hidden_dim" not in declared_ranges(True)
    assert not {"freeze_encoder", "encoder_rate"} & set(declared_ranges(False))
    assert set(HELD) <= {field.name for field in fields(TrainOptions)} & {field.name for field in fields(TuneOptions)}


def test_files_machines_and_seeds_are_not_tuned() -> None:
    assert not {"data", "split", "seed", "threads", "device", "save_run", "allow_overlap", "resume"} & set(tunable())


def test_a_file_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ranges.toml"
    path.write_text(
        "dropout = {low = 0, high = 0.2}\nbatch-size = [16, 32]\ninput_noise = 0.1\naugment_data = [true, false]\n"
        "[patience]\nlow = 1\nhigh = 9\nlog = true\n"
    )
    ranges = declared_ranges(False, path)
    assert ranges["dropout"] == Range(0.0, 0.2)
    assert ranges["batch_size"] == Choices((16, 32))
    assert ranges["input_noise"] == Choices((0.1,))
    assert ranges["augment_data"] == Choices((True, False))
    assert ranges["patience"] == Range(1, 9, log=True)
    assert ranges["learning_rate"] == declared_ranges(False)["learning_rate"]
    assert "epochs" not in declared_ranges(False, path, {"epochs": 3})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat = 0.1", "Did you mean learning_rate?"),
        ("seed = [1, 2]", "'seed'"),
        ("mirror_classes = ['same']", "'mirror_classes'"),
        ("dropout = {low = 0.5, high = 0.1}", "a low below its high"),
        ("dropout = {low = 0, high = 0.1, log = true}", "above 0 where log is true"),
        ("dropout = {low = 0}", "{low, high, log}"),
        ("dropout = {low = 0, high = 1, step = 1}", "{low, high, log}"),
        ("dropout = 'much'", "values of float"),
        ("dropout = [nan]", "values of float"),
        ("dropout = []", "values of float"),
        ("epochs = {low = 1.5, high = 3}", "a low and a high of int"),
        ("epochs = [true]", "values of int"),
        ("augment_data = {low = 0, high = 1}", "{low, high, log}"),
        ("dropout = ", "TOML"),
    ],
)
def test_what_is_no_range_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "ranges.toml"
    path.write_text(text + "\n")
    with pytest.raises(WrongUsage) as refused:
        read_ranges(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="TOML"):
        read_ranges(tmp_path / "none.toml")
