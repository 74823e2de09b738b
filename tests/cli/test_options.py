"""Options: booleans in every form, and where values come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moola.cli.arguments import join_booleans
from moola.options.option_sources import COMMAND_OPTIONS, boolean_options, option_names
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
    Path("moola.toml").write_text("seed = 5\nepochs = 1\n[train]\nbatch_size = 40\ndropout = 0.2\n")
    monkeypatch.setenv("MOOLA_BATCH_SIZE", "50")
    config = config_of(train("--seed", "6").last_line)
    assert (config["seed"], config["epochs"], config["batch_size"], config["dropout"]) == (6, 1, 50, 0.2)
    assert config["weight_decay"] == 0.01


def test_every_key_of_every_command_is_an_option(sample, moola):
    for command in COMMAND_OPTIONS:
        text = moola(*command.split(), "--help-all").out.replace("--[no-]", "--")
        for name in option_names(command):
            assert f"--{name.replace('_', '-')}" in text, (command, name)


@pytest.mark.parametrize("text", ["sed = 1", "[train]\nepoch = 1", "[trian]\nepochs = 1", "seed = "])
def test_an_unknown_key_is_an_error(sample, moola, text):
    Path("moola.toml").write_text(text)
    answer = moola("train", "--data", DATA, "--split", SPLIT)
    assert answer.code == 2
    assert "moola.toml" in answer.err


def test_json_is_one_object_and_nothing_else(sample, moola, train):
    run = train("--json").json["run_id"]
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
    assert moola("eval", "--run", run, "--json=false").out.startswith("Run ")


def test_a_log_follows_every_command(sample, train):
    train("--epochs", "1")
    assert "epoch 1 of 1" in Path("data/logs/train.log").read_text()


def test_doctor_names_a_fault_and_what_to_do(sample, moola):
    assert moola("doctor").code == 0
    split = json.loads(Path(SPLIT).read_text())
    split["train_indices"] += split["test_indices"]
    Path(SPLIT).write_text(json.dumps(split))
    answer = moola("doctor")
    assert answer.code == 1
    assert "train and test must share no row" in answer.out


def test_without_pointers_and_with_three_classes(sample, moola, monkeypatch):
    import polars as pl

    frame = pl.read_parquet(DATA)
    third = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("third")).otherwise(pl.col("label"))
    frame.drop("expansion_start", "expansion_end").with_columns(label=third).write_parquet("three.parquet")
    assert moola("split", "--data", "three.parquet", "--output", "three.json").code == 0
    trained = moola("train", "--data", "three.parquet", "--split", "three.json")
    assert trained.code == 0, trained.err
    shown = moola("eval", "--run", trained.last_line, "--json").json["figures"]
    assert shown["hit_at_pm3_both"]["value"] is None
    assert shown["hit_at_pm3_both"]["reason"] == "the model predicts no pointers"
    assert {"f1_third", "pr_auc"} <= set(shown)
    assert moola("train", "--data", "three.parquet", "--split", "three.json", "--predict-pointers").code == 3


def test_options_that_were_not_typed_are_named(sample, moola, train, monkeypatch):
    Path("moola.toml").write_text("[train]\ndropout = 0.25\nrefit = false\nseed = 3\n")
    monkeypatch.setenv("MOOLA_EPOCHS", "1")
    answer = train("--seed", "5")
    [line] = [line for line in answer.err.splitlines() if line.startswith("From ")]
    of_file, of_environment = line.split("; ")
    # What was typed goes before the file, which then gave nothing.
    assert of_file == "From moola.toml: dropout = 0.25, refit = false"
    assert of_environment.startswith("from the environment: ")
    assert "MOOLA_EPOCHS = 1" in of_environment
    sources = config_of(answer.last_line)["option_sources"]
    assert (sources["dropout"], sources["epochs"], sources["seed"], sources["cpsa_ratio"]) == (
        "moola.toml",
        "environment",
        "command line",
        "default",
    )


def test_a_run_is_found_through_a_linked_folder(made_run, moola, tmp_path_factory):
    run = made_run().name
    link = tmp_path_factory.mktemp("elsewhere") / "linked"
    link.symlink_to(Path.cwd())
    assert moola("eval", "--run", link / "artifacts/runs" / run).code == 0
    assert moola("eval", "--run", Path("artifacts/../artifacts/runs") / run).code == 0
    # Its last line leads on from there too.
    answer = moola("eval", "--run", tmp_path_factory.mktemp("other") / run)
    assert answer.code == 2


def test_short_windows_tell_why_the_rule_labels_none(sample, moola):
    answer = moola(
        "autolabel", "--bars", "data/raw/eurusd_1h_2017.parquet", "--output", "x.parquet", "--window-bars", "60"
    )
    assert answer.code == 3
    assert "window_too_short" in answer.err
    assert "Cut windows of at least 72 bars." in answer.err
