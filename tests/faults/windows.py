"""Window files and splits that break their contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tests.faults.bars import altered, cut_in_half, text
from tests.faults.fault import Fault

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


def feature(bar: int, column: int, value: float) -> Callable[[object], None]:
    return rows(lambda found: found[3]["features"][bar].__setitem__(column, value), "relative.parquet")


def twice_with_other_label(found: Rows) -> None:
    other = "retracement" if found[0]["label"] == "consolidation" else "consolidation"
    found.append(found[0] | {"window_id": "again", "label": other})


def split(change: Callable[[dict[str, Any]], object]) -> Callable[[object], None]:
    """Make bad.json: the world's split, changed."""

    def make(_patch: object) -> None:
        content = json.loads(Path("split.json").read_text())
        change(content)
        Path("bad.json").write_text(json.dumps(content))

    return make


def without_times(_patch: object) -> None:
    pl.read_parquet("relative.parquet").drop("start_ts", "end_ts").write_parquet("bad.parquet")


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
    Fault(
        "windows-cut-off",
        "half a window file",
        CONVERT,
        3,
        "bad.parquet",
        altered("windows.parquet", cut_in_half, "bad.parquet"),
    ),
    Fault(
        "windows-are-bars",
        "a bar file in place of windows",
        "convert --input bars.parquet --output new.parquet",
        3,
        "lacks window_id",
    ),
    Fault("windows-none", "no windows", CONVERT, 3, "must have windows, but", frame(lambda found: found.head(0))),
    Fault(
        "windows-one",
        "one window to divide",
        SPLIT,
        3,
        "every part must have windows",
        frame(lambda found: found.head(1)),
    ),
    Fault(
        "windows-id-twice",
        "one id twice",
        CONVERT,
        3,
        "row each, but 1 does not, first at row 3: 'window_20200109T0800' is row 2 already",
        rows(lambda found: found[3].update(window_id=found[2]["window_id"])),
    ),
    Fault(
        "windows-104-bars",
        "a window of 104 bars",
        CONVERT,
        3,
        "features must have 105 bars per window",
        rows(lambda found: found[3]["features"].pop()),
    ),
    Fault(
        "windows-106-bars",
        "a window of 106 bars",
        CONVERT,
        3,
        "features must have 105 bars per window",
        rows(lambda found: found[3]["features"].append(found[3]["features"][0])),
    ),
    Fault(
        "windows-3-prices",
        "a bar of three prices",
        CONVERT,
        3,
        "features must have 4 values a bar",
        rows(lambda found: found[3]["features"][5].pop()),
    ),
    Fault(
        "windows-bars-null",
        "no bars in one row",
        CONVERT,
        3,
        "features must have 105 bars per window",
        in_row_3(features=None),
    ),
    Fault(
        "windows-text",
        "bars as text",
        CONVERT,
        3,
        "features must be nested lists of numbers",
        frame(lambda found: found.with_columns(features=pl.lit("1 2 3 4"))),
    ),
    Fault(
        "windows-nested-too-deep",
        "bars nested once too often",
        CONVERT,
        3,
        "features must be nested lists of numbers",
        frame(
            lambda found: found.with_columns(
                features=pl.concat_list(
                    pl.col("features").map_elements(
                        lambda bars: [bars.to_list()], pl.List(pl.List(pl.List(pl.Float64)))
                    )
                )
            )
        ),
    ),
    Fault("windows-nan", "a price of NaN", CONVERT, 3, "close must be a finite number", price(7, 3, float("nan"))),
    Fault(
        "windows-infinite", "an infinite price", CONVERT, 3, "high must be a finite number", price(7, 1, float("inf"))
    ),
    Fault("windows-1e300", "a price of 1e300", CONVERT, 3, "high must be", price(7, 1, 1e300)),
    Fault("windows-negative", "a price below 0", CONVERT, 3, "open must be above 0", price(7, 0, -1.0)),
    Fault(
        "windows-high-below-close",
        "a high below the close",
        CONVERT,
        3,
        "high must be at least max(open, close)",
        price(7, 1, 0.5),
    ),
    Fault(
        "windows-jump",
        "a price that grows a million times in one bar",
        CONVERT,
        3,
        "must be within a factor of",
        price(7, 1, 1e8),
    ),
    Fault(
        "windows-feature-nan",
        "a feature of NaN",
        "split --data bad.parquet --output new.json",
        3,
        "log_return_close must be a finite number",
        feature(7, 3, float("nan")),
    ),
    Fault(
        "windows-feature-range",
        "a z-score of 11",
        "split --data bad.parquet --output new.json",
        3,
        "zscore_open must be a finite number within -10..10",
        feature(7, 7, 11.0),
    ),
    Fault(
        "windows-feature-type",
        "a feature type that is not known",
        SPLIT,
        3,
        "feature_type must be",
        rows(lambda found: found[3].update(feature_type="absolute"), "relative.parquet"),
    ),
    Fault(
        "windows-relative-again",
        "relative windows to convert",
        "convert --input relative.parquet --output new.parquet",
        3,
        "is relative already",
    ),
    Fault(
        "pointer-outside",
        "a pointer at 105",
        CONVERT,
        3,
        "expansion_end must be within 0..104",
        in_row_3(expansion_end=105),
    ),
    Fault(
        "pointer-negative",
        "a pointer at -5",
        CONVERT,
        3,
        "expansion_start must be within 0..104",
        in_row_3(expansion_start=-5),
    ),
    Fault("pointer-alone", "one pointer of two", CONVERT, 3, "must come together", in_row_3(expansion_end=None)),
    Fault(
        "pointer-crossed",
        "an end before its start",
        CONVERT,
        3,
        "expansion_start must be at most expansion_end",
        in_row_3(expansion_start=60, expansion_end=50),
    ),
    Fault(
        "pointer-fraction",
        "a pointer at 50.5",
        CONVERT,
        3,
        "expansion_start must be whole numbers",
        frame(lambda found: found.with_columns(expansion_start=pl.col("expansion_start") + 0.5)),
    ),
    Fault(
        "pointer-text",
        "a pointer that is a word",
        CONVERT,
        3,
        "expansion_start must be whole numbers",
        frame(lambda found: found.with_columns(expansion_start=pl.lit("early"))),
    ),
    Fault("label-blank", "a label of spaces", CONVERT, 3, "label must be a word or missing", in_row_3(label="  ")),
    Fault(
        "label-contradicts",
        "one window with two labels",
        CONVERT,
        3,
        "rows with the same bars and pointers must have the same label",
        rows(twice_with_other_label),
    ),
    Fault(
        "label-one-class",
        "labels of one class",
        "train --data bad.parquet --split bad.json",
        3,
        "two classes",
        lambda patch: (
            rows(one_class, "relative.parquet")(patch),
            split(lambda content: content.update(data_sha256=None))(patch),
        ),
    ),
    Fault(
        "label-unknown-class",
        "a class that no train row has",
        "train --data bad.parquet --split bad.json",
        3,
        "breakout",
        class_of_val_alone,
    ),
    Fault(
        "times-half",
        "a time left out in one row",
        CONVERT,
        3,
        "start_ts must be a time in every row or in none",
        in_row_3(start_ts=None),
    ),
    Fault(
        "times-lone",
        "starts without ends",
        CONVERT,
        3,
        "start_ts and end_ts must come together",
        frame(lambda found: found.drop("end_ts")),
    ),
    Fault(
        "times-text",
        "times as text",
        CONVERT,
        3,
        "start_ts must be a time in every row",
        frame(lambda found: found.with_columns(pl.col("start_ts").cast(pl.String))),
    ),
    Fault(
        "times-backward",
        "a window that ends before it starts",
        CONVERT,
        3,
        "end_ts must not be before start_ts",
        frame(lambda found: found.with_columns(end_ts=pl.col("start_ts") - pl.duration(days=1))),
    ),
]

SPLITS = [
    Fault("split-missing", "the file is not there", TRAIN, 1, "must exist, but there is no file"),
    Fault("split-empty", "0 bytes", TRAIN, 3, "must be JSON", text("", "bad.json")),
    Fault("split-cut-off", "half a split", TRAIN, 3, "must be JSON", altered("split.json", cut_in_half, "bad.json")),
    Fault(
        "split-nested-too-deep",
        "a hundred thousand brackets",
        TRAIN,
        3,
        "must be JSON",
        text("[" * 100_000, "bad.json"),
    ),
    Fault("split-list", "JSON that is no object", TRAIN, 3, "must be a JSON object", text("[1, 2]", "bad.json")),
    Fault(
        "split-parquet",
        "a window file in place of a split",
        "train --data relative.parquet --split relative.parquet",
        3,
        "must be JSON",
    ),
    Fault(
        "split-no-train",
        "no train rows named",
        TRAIN,
        3,
        "train_indices must be a list of row numbers",
        split(lambda content: content.pop("train_indices")),
    ),
    Fault(
        "split-fraction",
        "row number 1.5",
        TRAIN,
        3,
        "val_indices must be a list of row numbers",
        split(lambda content: content["val_indices"].append(1.5)),
    ),
    Fault(
        "split-huge-row",
        "row number 10^30",
        TRAIN,
        3,
        "val_indices must be a list of row numbers",
        split(lambda content: content["val_indices"].append(10**30)),
    ),
    Fault(
        "split-row-outside",
        "a row that the data has not",
        TRAIN,
        3,
        "bad.json breaks",
        split(lambda content: content["test_indices"].append(999)),
    ),
    Fault(
        "split-row-negative",
        "row number -1",
        TRAIN,
        3,
        "bad.json breaks",
        split(lambda content: content["test_indices"].append(-1)),
    ),
    Fault(
        "split-row-twice",
        "a row on both sides",
        TRAIN,
        3,
        "bad.json breaks",
        split(lambda content: content["val_indices"].append(content["train_indices"][0])),
    ),
    Fault(
        "split-backward",
        "train and test swapped, so that the future trains",
        TRAIN,
        3,
        "bad.json breaks",
        split(
            lambda content: content.update(train_indices=content["test_indices"], test_indices=content["train_indices"])
        ),
    ),
    Fault("split-part-empty", "no val rows", TRAIN, 3, "val", split(lambda content: content.update(val_indices=[]))),
    Fault(
        "split-purge",
        "a purge of -1",
        TRAIN,
        3,
        "purge_window must be a whole number",
        split(lambda content: content.update(purge_window=-1)),
    ),
    Fault(
        "split-time-range",
        "a time range that is none",
        TRAIN,
        3,
        "time_range must hold two UTC times",
        split(lambda content: content.update(time_range={"train": ["soon", "later"]})),
    ),
    Fault(
        "split-other-data",
        "the split of another file",
        "train --data windows.parquet --split split.json",
        3,
        "must be the split of the data given",
    ),
    Fault(
        "split-other-length",
        "a split of windows of 50 bars",
        TRAIN,
        3,
        "windows must have the 50 bars of bad.json, but relative.parquet has 105. Name files of one length",
        split(lambda content: content.update(window_bars=50)),
    ),
    Fault(
        "split-purge-too-small",
        "a purge that would leak",
        "split --data relative.parquet --output new.json --purge-window 50",
        2,
        "--purge-window must be at least 104",
    ),
    Fault(
        "data-flipped",
        "one bit of the data flipped after the split",
        "train --data bad.parquet --split split.json",
        3,
        "the data given, but it was made for a file with SHA-256",
        altered("relative.parquet", lambda content: content.__setitem__(5000, content[5000] ^ 1), "bad.parquet"),
    ),
]
