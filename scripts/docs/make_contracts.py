#!/usr/bin/env python3
"""Print the site's page of files: columns and keys that commands really wrote, rules as error messages name them."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import contract_words as words
import polars as pl
from contract_rules import bar_rules, window_rules
from page_commands import run

from moola.core.bars import Bars
from moola.core.event_merging import MergedEvents
from moola.core.features import FEATURE_NAMES
from moola.core.windows import WINDOW_BARS, inner_zone
from moola.tables.event_table import events_frame, events_of

SMALL = {"MOOLA_HIDDEN_DIM": "4", "MOOLA_NUM_LAYERS": "1", "MOOLA_EPOCHS": "1", "MOOLA_DEVICE": "cpu"}
DATA = "data/processed/labeled/train_latest_relative.parquet"
SPLIT = "data/splits/fwd_chain_v3.json"
BARS = "data/raw/eurusd_1h_2017.parquet"
COMMANDS = (
    "moola sample --quick",
    f"moola pretrain-bilstm --input {BARS} --output encoder.pt --stride 100",
    f"moola train --data {DATA} --split {SPLIT} --pretrained-encoder encoder.pt --freeze-encoder",
)
# What the sample has no need of.
MAY_BE_MISSING = {"symbol", "quality"}
CLASSES = ("consolidation", "retracement")
HEAD = """# Files

Each file that moola reads or writes: columns and types of files that the commands wrote while this page was made
(`scripts/docs/make_contracts.py`), and the rules in the words in which a file that breaks them is refused, every
broken rule at once with its count and its first row. Tables are parquet, or CSV where nothing is nested.
"""


def section(title: str, said: str, found: dict[str, str], meaning: dict[str, str], kind: str = "type") -> str:
    """Return a table of names, types and meanings; a name on one side alone fails."""
    unlike = (found.keys() ^ meaning.keys()) - MAY_BE_MISSING
    if unlike:
        raise SystemExit(f"contract_words.py and {title} must have the same names, but not {', '.join(sorted(unlike))}")
    rows = [f"| `{name}` | {found.get(name, 'text')} | {text} |" for name, text in meaning.items()]
    return f"\n## {title}\n\n{said}\n\n| name | {kind} | what |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def types_of(frame: pl.DataFrame) -> dict[str, str]:
    """Return the type of each column, classes joined to one."""
    named = {pl.String: "text", pl.Int64: "whole number", pl.Float64: "number", pl.Boolean: "true or false"}
    found: dict[str, str] = {}
    for column, dtype in frame.schema.items():
        name = "prob_<class>" if column.removeprefix("prob_") in CLASSES else column
        nesting = str(dtype).count("List")
        found[name] = "UTC time" if isinstance(dtype, pl.Datetime) else named.get(dtype, "")
        if nesting:
            found[name] = ("list of " * nesting) + "numbers"
    return found


def kinds_of(content: dict) -> dict[str, str]:
    """Return what each key of a JSON file holds."""
    named = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "list": "list"}
    return {
        key: named.get(type(value).__name__, "text or none" if value is None else "table")
        for key, value in content.items()
    }


def rules(title: str, found: list[str]) -> str:
    """Return rules as a list."""
    return f"\n{title}\n\n" + "\n".join(f"- {rule}".replace("*", "\\*") for rule in found) + "\n"


def page(folder: Path) -> str:
    """Run the commands in an empty folder, and describe what they wrote."""
    for line in COMMANDS:
        answer = run(line, folder, SMALL)
        if answer.returncode:
            raise SystemExit(f"{line}: {answer.stderr}")
    bars, windows = (pl.read_parquet(folder / name) for name in (BARS, "data/processed/labeled/train_latest.parquet"))
    relative = pl.read_parquet(folder / DATA)
    first, last = inner_zone(WINDOW_BARS)
    made = next((folder / "artifacts/runs").iterdir())
    predictions = pl.read_parquet(made / "predictions.parquet")
    events = events_frame(events_of(MergedEvents.none(len(CLASSES)), Bars.none(), list(CLASSES)))
    manifest = json.loads((made / "manifest.json").read_text())
    files = {path.name: f"{path.suffix[1:]}" for path in made.iterdir()}
    zones = (
        f"A row a label. A window has {WINDOW_BARS} bars unless `--window-bars` says otherwise: "
        f"[0, {first}) past context, [{first}, {last}) inner zone, [{last}, {WINDOW_BARS}) what followed. "
        "A pointer outside the inner zone is a warning."
    )
    named = "Features in order: " + ", ".join(f"`{name}`" for name in FEATURE_NAMES)
    parts = [
        HEAD,
        section("Bars", "One bar a symbol and time.", types_of(bars), words.BARS),
        rules("Rules:", bar_rules(bars)),
        section("Windows", zones, types_of(windows), words.WINDOWS),
        rules("Rules, of relative windows too:", window_rules(windows, relative)),
        section("Relative windows", f"What `moola convert` writes. {named}.", types_of(relative), words.RELATIVE),
        section("Split", "JSON.", kinds_of(json.loads((folder / SPLIT).read_text())), words.SPLIT),
        section(
            "Predictions", "`predictions.parquet` of a run, and `predict`'s.", types_of(predictions), words.PREDICTIONS
        ),
        section("Events", "What `moola scan` writes: parquet, CSV or JSON lines.", types_of(events), words.EVENTS),
        section("Run", "`artifacts/runs/<RUN_ID>/`.", files, words.RUN_FILES, "form"),
        section("Manifest", "`manifest.json` of a run.", kinds_of(manifest), words.MANIFEST),
    ]
    return "".join(parts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(page(Path(place)), end="")
