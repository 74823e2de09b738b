"""Values go into [train], everything else of the file stays, and what was is kept."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import WrongUsage
from moola.options.option_sources import file_settings
from moola.options.training_options import TrainOptions
from moola.stages.tune import MARK, check_settings, merged, unjudged, write_settings

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


@pytest.mark.parametrize(
    "text",
    [
        "train = {epochs = 3}\n",
        "train.epochs = 3\n",
        '[train]\nmirror_classes = [\n"a:b",\n]\nepochs = """\n3"""\n',
        "[train\n",
        "[train]\nepohcs = 3\n",
    ],
)
def test_a_file_that_lines_cannot_be_put_into_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "moola.toml"
    path.write_text(text)
    with pytest.raises(WrongUsage):
        check_settings(path)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_marked_lines_of_an_earlier_tune_go_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    path.write_text(f"[train]\n{MARK}old\n# a person's\nepochs = 3\n")
    assert merged(path, {"epochs": 4}, ["new"]) == f"[train]\n{MARK}new\nepochs = 4\n# a person's\n"


def test_what_was_not_judged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "moola.toml"
    path.write_text("epochs = 7\nseed = 5\n[train]\nbatch_size = 16\ndropout = 0.3\n")
    judged = TrainOptions(data=tmp_path, split=tmp_path, dropout=0.3)
    assert unjudged(path, judged) == ["batch_size = 16", "epochs = 7"]
