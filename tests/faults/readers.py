"""Every other command that reads a model, an encoder, predictions, a follower's state, a study or arms."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from moola.models.model_files import read_model, write_model
from tests.faults.bars import altered, cut_in_half, text
from tests.faults.fault import Fault, fault, run
from tests.faults.label_files import foreign
from tests.faults.world import the_run

FLIPPED = "its bytes do not match its SHA-256. Nothing of it was used"
FOLLOW = "scan --follow bars.csv --output told.csv --polls 1 --model"
LABEL = "label --bars bars.parquet --windows windows.parquet --store labels.db --annotator ana --port 0"
TUNE = "tune --data relative.parquet --split split.json --trials 1"
ARMS = "benchmark --train relative.parquet --arms bad.toml"
STATE = Path("told.csv.follow/state.json")


def flip(content: bytearray) -> None:
    content[len(content) // 2] ^= 1


def flipped_model(_patch: object) -> None:
    altered(str(the_run() / "model.pkl"), flip, "bad.pt")(None)


def predictions(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[object], None]:
    """Make bad.parquet: the run's held-out predictions, changed."""

    def make(_patch: object) -> None:
        change(pl.read_parquet(the_run() / "predictions.parquet")).write_parquet("bad.parquet")

    return make


def followed(change: Callable[[], object]) -> Callable[[object], None]:
    """Follow a file of bars to its end first, then change what that left."""

    def make(_patch: object) -> None:
        pl.read_parquet("bars.parquet").head(400).write_csv("bars.csv")
        answer = run(*FOLLOW.split(), str(the_run() / "model.pkl"))
        assert answer.code == 0, answer.err
        change()

    return make


def no_bars_yet(_patch: object) -> None:
    Path("bars.csv").touch()


def line_that_is_no_bar(_patch: object) -> None:
    """Make bars.csv: 400 bars, and behind the 300th a whole line that is none."""
    lines = pl.read_parquet("bars.parquet").head(400).write_csv().splitlines(keepends=True)
    Path("bars.csv").write_text("".join([*lines[:301], "no bar\n", *lines[301:]]))


def state(change: Callable[[dict[str, Any]], object]) -> Callable[[object], None]:
    def alter() -> None:
        content = json.loads(STATE.read_text())
        change(content)
        STATE.write_text(json.dumps(content))

    return followed(alter)


def other_model() -> None:
    model = read_model(the_run() / "model.pkl")
    write_model(Path("other.pt"), replace(model, temperature=model.temperature * 2))


def reader(name: str, command: str) -> Fault:
    return Fault(f"reader-{name}", f"a model with one bit flipped, at `{name}`", command, 5, FLIPPED, flipped_model)


RUN_MODEL = "artifacts/runs/{run}/model.pkl"
READERS = [
    reader("predict", "predict --model bad.pt --data relative.parquet --output new.parquet"),
    reader("scan", "scan --model bad.pt --bars bars.parquet --output new.csv"),
    reader("export", "export --model bad.pt --output new.onnx"),
    reader("gate", "gate --run {run} --baseline bad.pt"),
    reader("label", "label --bars bars.parquet --model bad.pt --store labels.db --annotator ana --port 0"),
    *(
        Fault(
            f"reader-{command.split()[0]}",
            f"an encoder with one bit flipped, at `{command.split()[0]}`",
            f"{command} --pretrained-encoder bad.pt",
            5,
            FLIPPED,
            altered("encoder.pt", flip, "bad.pt"),
        )
        for command in (
            "leakcheck --data relative.parquet --split split.json",
            "cv --data relative.parquet --folds 2 --seeds 1 --processes 1 --no-controls",
            TUNE,
        )
    ),
]
PREDICTIONS = [
    fault(
        f"{LABEL} --predictions no.parquet", "predictions-missing | the file is not there | 1 | there is no file no.par"
    ),
    fault(
        f"{LABEL} --predictions bad.parquet",
        "predictions-cut-off | half a table of predictions | 3 | bad.parquet",
        lambda _: altered(str(the_run() / "predictions.parquet"), cut_in_half, "bad.parquet")(None),
    ),
    fault(
        f"{LABEL} --predictions relative.parquet",
        "predictions-is-windows | a window file in place of predictions | 3 | relative.parquet",
    ),
    fault(
        f"{LABEL} --predictions bad.parquet",
        "predictions-learnt | predictions of windows that the model learnt from | 3 | "
        "that the model did not learn from",
        predictions(lambda frame: frame.with_columns(part=pl.lit("train").cast(frame["part"].dtype))),
    ),
    fault(
        f"{LABEL} --predictions bad.parquet",
        "predictions-foreign | predictions of other windows | 3 | predictions must be of labelled windows",
        predictions(lambda frame: frame.with_columns(window_id=pl.col("window_id") + "x")),
    ),
    fault(
        f"{LABEL} --predictions bad.parquet",
        "predictions-nan | probabilities of NaN | 3 | bad.parquet",
        predictions(lambda frame: frame.with_columns(pl.col(pl.Float64, pl.Float32) * float("nan"))),
    ),
]
PLATFORM = "export --model artifacts/runs/{run}/model.pkl --format"
PLATFORMS = [
    fault(
        f"{PLATFORM} mt5 --input features --output mt5",
        "platform-input | features for MetaTrader 5 | 2 | Leave --input out",
    ),
    fault(
        f"{PLATFORM} mt5 --output bars.parquet", "platform-folder | a file in place of a folder | 2 | must be a folder"
    ),
    fault(f"{PLATFORM} freqtrade --output s.txt", "platform-name | a strategy that is no .py | 2 | must end in .py"),
    fault(f"{PLATFORM} freqtrade --output s.py", "platform-no-events | a strategy of no events | 2 | it is not given"),
    fault(
        f"{PLATFORM} mt5 --events live.jsonl --output mt5",
        "platform-idle-events | events for MetaTrader 5 | 2 | --events must come with --format freqtrade",
    ),
]
PROGRAM = f"{FOLLOW.replace('.csv --polls', '.jsonl --polls')} {RUN_MODEL} --on-event"
HANDED_ON = [
    fault(
        f"{PROGRAM} no_such_program",
        "on-event-missing | no such program | 2 | there is no 'no_such_program'",
        no_bars_yet,
    ),
    fault(
        f"{PROGRAM} '\"open'", "on-event-quote | a quote that does not end | 2 | must be a command line", no_bars_yet
    ),
    fault(
        f"scan --bars bars.parquet --output new.jsonl --model {RUN_MODEL} --on-event cat",
        "on-event-without-follow | a program and a whole scan | 2 | --on-event must come with --follow",
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL} --on-event cat",
        "on-event-csv | a program and events in CSV | 2 | an output in .jsonl, but the output is told.csv",
    ),
]
FOLLOWED = [
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-state-cut-off | half the state of a follower | 3 | a follower's state must be JSON",
        followed(lambda: altered(str(STATE), cut_in_half, str(STATE))(None)),
    ),
    fault(
        f"{FOLLOW} other.pt",
        "follow-state-other-model | the state of a follower that had another model | 2 | "
        "must continue with the model and options it was begun with",
        followed(other_model),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-state-lacks | a state without its places | 3 | a follower's state must be intact",
        state(lambda content: content.pop("places")),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-state-numbers | a state with 1e999 in it | 3 | a follower's state must be JSON",
        followed(lambda: STATE.write_text(STATE.read_text().replace('"n_events": 0', '"n_events": 1e999'))),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-state-words | a state with words for bars | 3 | a follower's state must be intact",
        state(lambda content: content.update(symbols=[["EURUSD", "bars"]])),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-output-cut-off | half the events that a follower told | 3 | "
        "must be as it was appended, but it was changed",
        followed(lambda: altered("told.csv", cut_in_half, "told.csv")(None)),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-output-alone | an output that no follower left | 2 | must begin with an output of its own",
        followed(STATE.unlink),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL}",
        "follow-line | a line that is no bar in a followed file: skipped and counted | 0 | "
        "1 invalid lines and 0 bars that are not later",
        line_that_is_no_bar,
        ("told.csv",),
    ),
    fault(
        f"{FOLLOW} {RUN_MODEL} --strict",
        "follow-line-strict | the same with --strict: nothing is told | 3 | with --strict every line must be "
        "a new bar in order, but bars.csv has 1 invalid lines, the first 'no bar'",
        line_that_is_no_bar,
        ("told.csv",),
    ),
]


STUDY_TABLES = ("studies", "trials", "version_info")


def trigger(_patch: object) -> None:
    """Make bad.db: tables of a study's names, and a trigger."""
    with contextlib.closing(sqlite3.connect("bad.db")) as connection:
        for table in STUDY_TABLES:
            connection.execute(f"CREATE TABLE {table} (x)")
        connection.execute("CREATE TRIGGER evil AFTER INSERT ON studies BEGIN SELECT 1; END")


def half_a_study(_patch: object) -> None:
    """Make bad.db: half the file of a study's tables."""
    with contextlib.closing(sqlite3.connect("whole.db")) as connection:
        for table in STUDY_TABLES:
            connection.execute(f"CREATE TABLE {table} (x)")
    altered("whole.db", cut_in_half, "bad.db")(None)


STUDIES = [
    fault(f"{TUNE} --study bad.db", "study-cut-off | half a study | 5 | bad.db", half_a_study),
    fault(f"{TUNE} --study bad.db", "study-text | a text file | 5 | not a database", text("study " * 40, "bad.db")),
    fault(f"{TUNE} --study bad.db", "study-foreign | a database of other software | 5 | another SQLite file", foreign),
    fault(f"{TUNE} --study bad.db", "study-trigger | a study with a trigger | 5 | no triggers or views", trigger),
    fault(f"{TUNE} --study artifacts", "study-folder | a folder | 5 | --study must be a study in SQLite"),
    fault(f"{TUNE} --study labels.db", "study-labels | a label store | 5 | another SQLite file"),
]
BENCHMARKS = [
    fault(ARMS, "arms-missing | the file is not there | 2 | --arms bad.toml must be a TOML file"),
    fault(ARMS, "arms-bytes | other bytes | 2 | must be text in UTF-8", text(b"\xff\xfe[", "bad.toml")),
    fault(
        ARMS, "arms-nested | a hundred thousand brackets | 2 | must be TOML", text("a = " + "[" * 100_000, "bad.toml")
    ),
    fault(ARMS, "arms-key | an option that does not exist | 2 | epochs", text("[a.train]\nepoch = 5", "bad.toml")),
    fault(ARMS, "arms-kind | a word as a number | 2 | epochs", text('[a.train]\nepochs = "many"', "bad.toml")),
    fault(
        ARMS, "arms-name | a name that leads up | 2 | the name of a configuration must be", text('["../x"]', "bad.toml")
    ),
    fault("benchmark --train relative.parquet --arms artifacts", "arms-folder | a folder | 2 | it is a folder"),
]
