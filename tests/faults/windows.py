"""Window files and splits that break their contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.faults.bars import altered, cut_in_half, text
from tests.faults.fault import fault

Rows = list[dict[str, Any]]


def rows(change: Callable[[Rows], object], source: str = "windows.parquet") -> Callable[[object], None]:
    """Make bad.parquet: the world's windows with their rows changed, in the same schema."""

    def make(_patch: object) -> None:
        found = pl.read_parquet(source).to_dicts()
        change(found)
        pl.DataFrame(found, schema=pl.read_parquet_schema(source)).write_parquet("bad.parquet")

    return make


def frame(change: Callable[[pl.DataFrame], pl.DataFrame], source: str = "windows.parquet") -> Callable[[object], None]:
    """Make bad.parquet: the world's windows as another table."""
    return lambda _patch: change(pl.read_parquet(source)).write_parquet("bad.parquet")


def in_row_3(**values: Any) -> Callable[[object], None]:
    return rows(lambda found: found[3].update(values))


def price(bar: int, column: int, value: float) -> Callable[[object], None]:
    return rows(lambda found: found[3]["features"][bar].__setitem__(column, value))


def split(change: Callable[[dict[str, Any]], object]) -> Callable[[object], None]:
    """Make bad.json: the world's split, changed."""

    def make(_patch: object) -> None:
        content = json.loads(Path("split.json").read_text())
        change(content)
        Path("bad.json").write_text(json.dumps(content))

    return make


def one_class(found: Rows) -> None:
    for row in found:
        row["label"] = "consolidation"


def class_of_val_alone(_patch: object) -> None:
    """A class that no train row has, and the split made for that file."""
    content = json.loads(Path("split.json").read_text())
    found = pl.read_parquet("relative.parquet").to_dicts()
    found[content["val_indices"][0]]["label"] = "breakout"
    pl.DataFrame(found, schema=pl.read_parquet_schema("relative.parquet")).write_parquet("bad.parquet")
    Path("bad.json").write_text(json.dumps(content | {"data_sha256": None}))


CONVERT, SPLIT = "convert --input bad.parquet --output new.parquet", "split --data bad.parquet --output new.json"
TRAIN = "train --data relative.parquet --split bad.json"

WINDOWS = [
    fault(
        CONVERT,
        "windows-cut-off | half a window file | 3 | bad.parquet",
        altered("windows.parquet", cut_in_half, "bad.parquet"),
    ),
    fault(
        "convert --input bars.parquet --output new.parquet",
        "windows-are-bars | a bar file in place of windows | 3 | lacks window_id",
    ),
    fault(
        SPLIT,
        "windows-one | one window to divide | 3 | every part must have windows",
        frame(lambda found: found.head(1)),
    ),
    fault(
        CONVERT,
        "windows-id-twice | one id twice | 3 | "
        "row each, but 1 does not, first at row 3: 'window_20200109T0800' is row 2 already",
        rows(lambda found: found[3].update(window_id=found[2]["window_id"])),
    ),
    fault(
        CONVERT,
        "windows-104-bars | a window of 104 bars | 3 | features must have 105 bars per window",
        rows(lambda found: found[3]["features"].pop()),
    ),
    fault(CONVERT, "windows-nan | a price of NaN | 3 | close must be a finite number", price(7, 3, float("nan"))),
    fault(CONVERT, "windows-1e300 | a price of 1e300 | 3 | high must be", price(7, 1, 1e300)),
    fault(
        CONVERT,
        "windows-jump | a price that grows a million times in one bar | 3 | must be within a factor of",
        price(7, 1, 1e8),
    ),
    fault(
        "convert --input relative.parquet --output new.parquet",
        "windows-relative-again | relative windows to convert | 3 | is relative already",
    ),
    fault(
        CONVERT,
        "pointer-crossed | an end before its start | 3 | expansion_start must be at most expansion_end",
        in_row_3(expansion_start=60, expansion_end=50),
    ),
    fault(
        CONVERT,
        "pointer-text | a pointer that is a word | 3 | expansion_start must be whole numbers",
        frame(lambda found: found.with_columns(expansion_start=pl.lit("early"))),
    ),
    fault(
        "train --data bad.parquet --split bad.json",
        "label-one-class | labels of one class | 3 | two classes",
        lambda patch: (
            rows(one_class, "relative.parquet")(patch),
            split(lambda content: content.update(data_sha256=None))(patch),
        ),
    ),
    fault(
        "train --data bad.parquet --split bad.json",
        "label-unknown-class | a class that no train row has | 3 | breakout",
        class_of_val_alone,
    ),
]

SPLITS = [
    fault(TRAIN, "split-missing | the file is not there | 1 | must exist, but there is no file"),
    fault(TRAIN, "split-empty | 0 bytes | 3 | must be JSON", text("", "bad.json")),
    fault(
        TRAIN, "split-nested-too-deep | a hundred thousand brackets | 3 | must be JSON", text("[" * 100_000, "bad.json")
    ),
    fault(
        TRAIN,
        "split-row-outside | a row that the data has not | 3 | bad.json breaks",
        split(lambda content: content["test_indices"].append(999)),
    ),
    fault(
        TRAIN,
        "split-row-twice | a row on both sides | 3 | bad.json breaks",
        split(lambda content: content["val_indices"].append(content["train_indices"][0])),
    ),
    fault(
        TRAIN,
        "split-backward | train and test swapped, so that the future trains | 3 | bad.json breaks",
        split(
            lambda content: content.update(train_indices=content["test_indices"], test_indices=content["train_indices"])
        ),
    ),
    fault(TRAIN, "split-part-empty | no val rows | 3 | val", split(lambda content: content.update(val_indices=[]))),
    fault(
        "train --data windows.parquet --split split.json",
        "split-other-data | the split of another file | 3 | must be the split of the data given",
    ),
    fault(
        TRAIN,
        "split-other-length | a split of windows of 50 bars | 3 | "
        "windows must have the 50 bars of bad.json, but relative.parquet has 105. Name files of one length",
        split(lambda content: content.update(window_bars=50)),
    ),
    fault(
        "split --data relative.parquet --output new.json --purge-window 50",
        "split-purge-too-small | a purge that would leak | 2 | --purge-window must be at least 104",
    ),
    fault(
        "train --data bad.parquet --split split.json",
        "data-flipped | one bit of the data flipped after the split | 3 | "
        "the data given, but it was made for a file with SHA-256",
        altered("relative.parquet", lambda content: content.__setitem__(5000, content[5000] ^ 1), "bad.parquet"),
    ),
]
