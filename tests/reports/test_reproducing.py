"""The commands on the page make the same run again."""

from __future__ import annotations

import shlex
from pathlib import Path

from moola.options.judging_options import ReportOptions
from moola.reports.contents import commands_of
from moola.stages.model_card import training_command


def test_training_line_names_what_is_not_at_its_default():
    config = {
        "data": "my data.parquet",
        "split": "s.json",
        "model": "enhanced_simple_lstm",
        "freeze_encoder": False,
        "mirror_classes": ["bull:bear", "up:down"],
        "epochs": 5,
        "batch_size": 32,
        "seed": 3,
        "input_dim": 11,
        "resume": "x",
        "pretrained_encoder": None,
    }
    assert shlex.split(training_command(config)) == (
        "moola train --data|my data.parquet|--split|s.json|--freeze-encoder|false|--epochs|5|"
        "--mirror-classes|bull:bear|up:down|--seed|3"
    ).replace("moola train ", "moola|train|").split("|")


def test_commit_comes_first_and_the_baseline_is_kept():
    options = ReportOptions(run=Path("r"), baseline=Path("b"), seed=9)
    lines = commands_of({"git_commit": "abc"}, {"data": "d", "split": "s"}, options)
    assert lines == [
        "git checkout abc",
        "moola train --data d --split s",
        "moola eval --run <RUN_ID> --seed 9",
        "moola gate --run <RUN_ID> --seed 9 --baseline b",
        "moola report --run <RUN_ID> --seed 9 --baseline b",
    ]
