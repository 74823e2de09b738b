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
    fault(
        CONVERT,
        "windows-cut-off | half a window file | 3 | bad.parquet",
        altered("windows.parquet", cut_in_half, "bad.parquet"),
    ),
    fault(
        "convert --input bars.parquet --output new.parquet",
        "windows-are-bars | a bar file in place of windows | 3 | lacks window_id",
    ),
    fault(CONVERT, "windows-none | no windows | 3 | must have windows, but", frame(lambda found: found.head(0))),
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
    fault(
        CONVERT,
        "windows-106-bars | a window of 106 bars | 3 | features must have 105 bars per window",
        rows(lambda found: found[3]["features"].append(found[3]["features"][0])),
    ),
    fault(
        CONVERT,
        "windows-3-prices | a bar of three prices | 3 | features must have 4 values a bar",
        rows(lambda found: found[3]["features"][5].pop()),
    ),
    fault(
        CONVERT,
        "windows-bars-null | no bars in one row | 3 | features must have 105 bars per window",
        in_row_3(features=None),
    ),
    fault(
        CONVERT,
        "windows-text | bars as text | 3 | features must be nested lists of numbers",
        frame(lambda found: found.with_columns(features=pl.lit("1 2 3 4"))),
    ),
    fault(
        CONVERT,
        "windows-nested-too-deep | bars nested once too often | 3 | features must be nested lists of numbers",
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
    fault(CONVERT, "windows-nan | a price of NaN | 3 | close must be a finite number", price(7, 3, float("nan"))),
    fault(
        CONVERT, "windows-infinite | an infinite price | 3 | high must be a finite number", price(7, 1, float("inf"))
    ),
    fault(CONVERT, "windows-1e300 | a price of 1e300 | 3 | high must be", price(7, 1, 1e300)),
    fault(CONVERT, "windows-negative | a price below 0 | 3 | open must be above 0", price(7, 0, -1.0)),
    fault(
        CONVERT,
        "windows-high-below-close | a high below the close | 3 | high must be at least max(open, close)",
        price(7, 1, 0.5),
    ),
    fault(
        CONVERT,
        "windows-jump | a price that grows a million times in one bar | 3 | must be within a factor of",
        price(7, 1, 1e8),
    ),
    fault(
        "split --data bad.parquet --output new.json",
        "windows-feature-nan | a feature of NaN | 3 | log_return_close must be a finite number",
        feature(7, 3, float("nan")),
    ),
    fault(
        "split --data bad.parquet --output new.json",
        "windows-feature-range | a z-score of 11 | 3 | zscore_open must be a finite number within -10..10",
        feature(7, 7, 11.0),
    ),
    fault(
        SPLIT,
        "windows-feature-type | a feature type that is not known | 3 | feature_type must be",
        rows(lambda found: found[3].update(feature_type="absolute"), "relative.parquet"),
    ),
    fault(
        "convert --input relative.parquet --output new.parquet",
        "windows-relative-again | relative windows to convert | 3 | is relative already",
    ),
    fault(
        CONVERT,
        "pointer-outside | a pointer at 105 | 3 | expansion_end must be within 0..104",
        in_row_3(expansion_end=105),
    ),
    fault(
        CONVERT,
        "pointer-negative | a pointer at -5 | 3 | expansion_start must be within 0..104",
        in_row_3(expansion_start=-5),
    ),
    fault(CONVERT, "pointer-alone | one pointer of two | 3 | must come together", in_row_3(expansion_end=None)),
    fault(
        CONVERT,
        "pointer-crossed | an end before its start | 3 | expansion_start must be at most expansion_end",
        in_row_3(expansion_start=60, expansion_end=50),
    ),
    fault(
        CONVERT,
        "pointer-fraction | a pointer at 50.5 | 3 | expansion_start must be whole numbers",
        frame(lambda found: found.with_columns(expansion_start=pl.col("expansion_start") + 0.5)),
    ),
    fault(
        CONVERT,
        "pointer-text | a pointer that is a word | 3 | expansion_start must be whole numbers",
        frame(lambda found: found.with_columns(expansion_start=pl.lit("early"))),
    ),
    fault(CONVERT, "label-blank | a label of spaces | 3 | label must be a word or missing", in_row_3(label="  ")),
    fault(
        CONVERT,
        "label-contradicts | one window with two labels | 3 | "
        "rows with the same bars and pointers must have the same label",
        rows(twice_with_other_label),
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
    fault(
        CONVERT,
        "times-half | a time left out in one row | 3 | start_ts must be a time in every row or in none",
        in_row_3(start_ts=None),
    ),
    fault(
        CONVERT,
        "times-lone | starts without ends | 3 | start_ts and end_ts must come together",
        frame(lambda found: found.drop("end_ts")),
    ),
    fault(
        CONVERT,
        "times-text | times as text | 3 | start_ts must be a time in every row",
        frame(lambda found: found.with_columns(pl.col("start_ts").cast(pl.String))),
    ),
    fault(
        CONVERT,
        "times-backward | a window that ends before it starts | 3 | end_ts must not be before start_ts",
        frame(lambda found: found.with_columns(end_ts=pl.col("start_ts") - pl.duration(days=1))),
    ),
]

SPLITS = [
    fault(TRAIN, "split-missing | the file is not there | 1 | must exist, but there is no file"),
    fault(TRAIN, "split-empty | 0 bytes | 3 | must be JSON", text("", "bad.json")),
    fault(TRAIN, "split-cut-off | half a split | 3 | must be JSON", altered("split.json", cut_in_half, "bad.json")),
    fault(
        TRAIN, "split-nested-too-deep | a hundred thousand brackets | 3 | must be JSON", text("[" * 100_000, "bad.json")
    ),
    fault(TRAIN, "split-list | JSON that is no object | 3 | must be a JSON object", text("[1, 2]", "bad.json")),
    fault(
        "train --data relative.parquet --split relative.parquet",
        "split-parquet | a window file in place of a split | 3 | must be JSON",
    ),
    fault(
        TRAIN,
        "split-no-train | no train rows named | 3 | train_indices must be a list of row numbers",
        split(lambda content: content.pop("train_indices")),
    ),
    fault(
        TRAIN,
        "split-fraction | row number 1.5 | 3 | val_indices must be a list of row numbers",
        split(lambda content: content["val_indices"].append(1.5)),
    ),
    fault(
        TRAIN,
        "split-huge-row | row number 10^30 | 3 | val_indices must be a list of row numbers",
        split(lambda content: content["val_indices"].append(10**30)),
    ),
    fault(
        TRAIN,
        "split-row-outside | a row that the data has not | 3 | bad.json breaks",
        split(lambda content: content["test_indices"].append(999)),
    ),
    fault(
        TRAIN,
        "split-row-negative | row number -1 | 3 | bad.json breaks",
        split(lambda content: content["test_indices"].append(-1)),
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
        TRAIN,
        "split-purge | a purge of -1 | 3 | purge_window must be a whole number",
        split(lambda content: content.update(purge_window=-1)),
    ),
    fault(
        TRAIN,
        "split-time-range | a time range that is none | 3 | time_range must hold two UTC times",
        split(lambda content: content.update(time_range={"train": ["soon", "later"]})),
    ),
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
