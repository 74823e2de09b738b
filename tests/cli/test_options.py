"""Options: booleans in every form, and where values come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.cli.arguments import join_booleans
from moola.options.option_sources import boolean_options
from tests.conftest import DATA, SPLIT


def config_of(run: str) -> dict:
    return json.loads((Path("artifacts/runs") / run / "config.json").read_text())


@pytest.mark.parametrize(
    ("environment", "form", "meant"),
    [
        ("false", "--augment-data", True),
        ("false", "--augment-data true", True),
        ("false", "--augment-data=true", True),
        ("true", "--no-augment-data", False),
        ("true", "--augment-data false", False),
        ("true", "--augment-data=false", False),
    ],
)
def test_a_boolean_in_every_form(sample, moola, monkeypatch, environment, form, meant):
    class Taken(Exception):
        pass

    def take(options, *_):
        raise Taken(options.augment_data)

    monkeypatch.setenv("MOOLA_AUGMENT_DATA", environment)
    monkeypatch.setattr("moola.stages.train.train", take)
    answer = moola("train", "--data", DATA, "--split", SPLIT, *form.split())
    assert f"Unexpected Taken: {meant}" in answer.err


def test_every_boolean_option_is_joined_with_its_value():
    flags = boolean_options()
    assert {"--augment-data", "--freeze-encoder", "--save-run", "--predict-pointers", "--resume", "--json"} <= flags
    for flag in flags:
        assert join_booleans(["x", flag, "False", "y"]) == ["x", f"{flag}=false", "y"]
        assert join_booleans(["x", flag, "--json", "y"]) == ["x", flag, "--json", "y"]


def test_option_before_environment_before_file_before_default(sample, train, monkeypatch):
    monkeypatch.delenv("MOOLA_EPOCHS")
    Path("moola.toml").write_text("seed = 5\nepochs = 1\n[train]\nbatch_size = 40\ndropout = 0.2\nrefit = false\n")
    monkeypatch.setenv("MOOLA_BATCH_SIZE", "50")
    answer = train("--seed", "6")
    config = config_of(answer.last_line)
    assert (config["seed"], config["epochs"], config["batch_size"], config["dropout"]) == (6, 1, 50, 0.2)
    assert config["weight_decay"] == 0.01
    # What was not typed is named; what was typed goes before the file, which then gave nothing.
    [line] = [line for line in answer.err.splitlines() if line.startswith("From ")]
    of_file, of_environment = line.split("; ")
    assert of_file.startswith("From moola.toml: ")
    assert set(of_file.removeprefix("From moola.toml: ").split(", ")) == {
        "epochs = 1",
        "dropout = 0.2",
        "refit = false",
    }
    assert of_environment.startswith("from the environment: ")
    assert "MOOLA_BATCH_SIZE = 50" in of_environment
    sources = {name: config["option_sources"][name] for name in ("dropout", "batch_size", "seed", "cpsa_ratio")}
    assert list(sources.values()) == ["moola.toml", "environment", "command line", "default"]
    assert "epoch 1 of 1" in Path("data/logs/train.log").read_text()


@pytest.mark.parametrize("text", ["sed = 1", "[train]\nepoch = 1", "[trian]\nepochs = 1", "seed = "])
def test_an_unknown_key_is_an_error(sample, moola, text):
    Path("moola.toml").write_text(text)
    moola("train", "--data", DATA, "--split", SPLIT).ends(2, "moola.toml")


def test_json_is_one_object_and_nothing_else(made_run, moola):
    run = made_run().name
    for arguments in (
        ("runs", "list"),
        ("runs", "show", run),
        ("doctor",),
        ("eval", "--run", run),
        ("bars", "check", "data/raw/eurusd_1h_2017.parquet"),
    ):
        answer = moola(*arguments, "--json")
        assert isinstance(answer.json, dict)
        assert answer.out.count("\n") == 1
    failed = moola("bars", "check", "missing.parquet", "--json")
    assert failed.json["exit_code"] == failed.code == 1
    shown = moola("eval", "--run", run, "--json=false")
    assert shown.out.startswith("Run ")


def test_doctor_names_a_fault_and_what_to_do(sample, moola):
    assert moola("doctor").code == 0
    split = json.loads(Path(SPLIT).read_text())
    split["train_indices"] += split["test_indices"]
    Path(SPLIT).write_text(json.dumps(split))
    answer = moola("doctor").ends(1)
    assert "train and test must share no row" in answer.out


def test_a_run_is_found_through_a_linked_folder(made_run, moola, tmp_path_factory):
    run = made_run().name
    link = tmp_path_factory.mktemp("elsewhere") / "linked"
    link.symlink_to(Path.cwd())
    for folder in (link / "artifacts/runs", Path("artifacts/../artifacts/runs")):
        assert moola("runs", "show", folder / run).code == 0
        assert moola("eval", "--run", folder / run).code == 0
    # Its last line leads on from there too.
    assert moola("eval", "--run", tmp_path_factory.mktemp("other") / run).code == 2


def test_short_windows_tell_why_the_rule_labels_none(sample, moola):
    moola(
        "autolabel", "--bars", "data/raw/eurusd_1h_2017.parquet", "--output", "x.parquet", "--window-bars", "60"
    ).ends(3, "window_too_short", "Cut windows of at least 72 bars.")
