"""What may be chosen: declared ranges, a file that replaces some; and the file that what was chosen goes into."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import WrongUsage
from moola.options.option_sources import file_settings
from moola.options.study_options import HELD, Choices, Range, TuneOptions, declared_ranges, read_ranges, tunable
from moola.options.training_options import TrainOptions
from moola.stages.tune import MARK, check_settings, merged, unjudged, write_settings


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


def test_what_is_no_range_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ranges.toml"
    for text, said in (
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
    ):
        path.write_text(text + "\n")
        with pytest.raises(WrongUsage) as refused:
            read_ranges(path)
        assert said in str(refused.value)
        assert str(path) in str(refused.value)
    with pytest.raises(WrongUsage, match="TOML"):
        read_ranges(tmp_path / "none.toml")


# Values go into [train], everything else of the file stays, and what was is kept.

VALUES = {"learning_rate": 1e-05, "epochs": 20, "freeze_encoder": False, "mirror_classes": ("up:down",)}


def test_a_new_file_is_what_train_reads(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    assert write_settings(path, VALUES, ["one line", 'a "second"']) is None
    assert path.read_text() == (
        '[train]\n# tune: one line\n# tune: a "second"\nlearning_rate = 1e-05\nepochs = 20\nfreeze_encoder = false\n'
        'mirror_classes = ["up:down"]\n'
    )
    assert file_settings("train", path) == VALUES | {"mirror_classes": ["up:down"]}
    assert file_settings("cv", path) == {}


def test_what_stood_before_stays_or_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    before = (
        "# mine\nseed = 3\n\n[train]  # to learn\n# tune: an earlier one\nlearning-rate = 0.5 # once\nbatch_size = 16\n"
        "\n[eval]\nseed = 4\n"
    )
    path.write_text(before)
    backup = write_settings(path, {"learning_rate": 0.1, "epochs": 20}, ["new"])
    assert path.read_text() == (
        "# mine\nseed = 3\n\n[train]  # to learn\n# tune: new\nlearning_rate = 0.1\nepochs = 20\nbatch_size = 16\n"
        "\n[eval]\nseed = 4\n"
    )
    assert backup is not None
    assert backup.read_text() == before
    assert write_settings(path, {"learning_rate": 0.1, "epochs": 20}, ["new"]) is None
    other = write_settings(path, {"learning_rate": 0.2}, [])
    assert other not in (None, backup)
    assert backup.read_text() == before


@given(
    before=st.dictionaries(st.sampled_from(["epochs", "dropout", "batch_size", "patience"]), st.integers(1, 9)),
    values=st.dictionaries(st.sampled_from(["epochs", "dropout", "learning_rate"]), st.integers(1, 9), min_size=1),
    others=st.dictionaries(st.sampled_from(["seed", "window_bars"]), st.integers(1, 9)),
    after=st.booleans(),
)
def test_merging_is_merging_of_dicts(tmp_path_factory, before, values, others, after) -> None:
    path = tmp_path_factory.mktemp("merge") / "moola.toml"
    lines = [f"{name} = {value}" for name, value in others.items()]
    lines += ["[train]", *(f"{name} = {value}" for name, value in before.items())] if before else []
    lines += ["[gate]", "seed = 2"] if after else []
    path.write_text("\n".join(lines))
    found = tomllib.loads(merged(path, values, ["said"]))
    expected = others | {"train": before | values} | ({"gate": {"seed": 2}} if after else {})
    assert found == expected


def test_a_file_that_lines_cannot_be_put_into_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    for text in (
        "train = {epochs = 3}\n",
        "train.epochs = 3\n",
        '[train]\nmirror_classes = [\n"a:b",\n]\nepochs = """\n3"""\n',
        "[train\n",
        "[train]\nepohcs = 3\n",
    ):
        path.write_text(text)
        with pytest.raises(WrongUsage):
            check_settings(path)
        assert path.read_text() == text
        assert list(tmp_path.iterdir()) == [path]
    # Marked lines of an earlier tune go, and comments stay.
    path.write_text(f"[train]\n{MARK}old\n# a person's\nepochs = 3\n")
    assert merged(path, {"epochs": 4}, ["new"]) == f"[train]\n{MARK}new\nepochs = 4\n# a person's\n"


def test_what_was_not_judged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    path.write_text("epochs = 7\nseed = 5\n[train]\nbatch_size = 16\ndropout = 0.3\n")
    judged = TrainOptions(data=tmp_path, split=tmp_path, dropout=0.3)
    assert unjudged(path, judged) == ["batch_size = 16", "epochs = 7"]
