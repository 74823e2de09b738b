"""Bar files that are missing, damaged, foreign or wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from moola.tables import frames
from tests.faults.fault import fault

BAD = "bad.csv"


def write_rows(frame: pl.DataFrame, name: str = BAD) -> None:
    """Write bars as text, as a person would export them."""
    frame.write_csv(name) if name.endswith(".csv") else frame.write_parquet(name)


def bars(change: Callable[[pl.DataFrame], pl.DataFrame], name: str = BAD) -> Callable[[object], None]:
    """Make a changed copy of the world's bars."""
    return lambda _patch: write_rows(change(pl.read_parquet("bars.parquet").head(200)), name)


def cell(column: str, row: int, value: object) -> Callable[[object], None]:
    """Make a copy of the bars with one cell changed; every cell is text then."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[column].cast(pl.String).to_list()
        values[row] = str(value)
        return frame.with_columns(pl.Series(column, values, dtype=pl.String))

    return bars(change)


def long_symbol_many_times(_patch: object) -> None:
    """Write 20,000 bars whose symbol of 9,000 letters stands once in the file and would be 180 MB of text."""
    frame = pl.read_parquet("bars.parquet").head(1).drop("symbol", strict=False)
    rows = pl.concat([frame] * 1000).with_columns(symbol=pl.lit("S" * 9000))
    pl.concat([rows] * 20).write_parquet("bad.parquet", compression="zstd")


def feather_full_of_one_number(patch: pytest.MonkeyPatch) -> None:
    """Write a million rows of five equal numbers: 40 MB in some 10 kB."""
    patch.setattr(frames, "SMALL_BYTES", 1 << 20)
    ones = pl.repeat(1.0, 1_000_000, eager=True)
    frame = pl.DataFrame(dict.fromkeys(("time", "open", "high", "low", "close"), ones))
    frame.write_ipc(BAD, compression="zstd")


def text(content: str | bytes, name: str = BAD) -> Callable[[object], None]:
    """Make a file of these bytes."""
    return lambda _patch: Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def altered(path: str, change: Callable[[bytearray], object], name: str) -> Callable[[object], None]:
    """Make a copy of a file with its bytes changed."""

    def make(_patch: object) -> None:
        content = bytearray(Path(path).read_bytes())
        change(content)
        Path(name).write_bytes(bytes(content))

    return make


def cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def claim_a_huge_footer(content: bytearray) -> None:
    content[-8:-4] = (0x7FFFFFF0).to_bytes(4, "little")


def spoil_the_footer(content: bytearray) -> None:
    content[-60:-20] = b"\xff" * 40


def full_of_one_number(patch: pytest.MonkeyPatch) -> None:
    """A parquet file of some kilobytes that unpacks to 48 MB."""
    patch.setattr(frames, "SMALL_BYTES", 1 << 20)
    pl.repeat(1.0, 6_000_000, eager=True).alias("open").to_frame().write_parquet("bad.parquet", compression="zstd")


def clock_changes(local: str) -> Callable[[object], None]:
    """Bars of one day whose third bar starts at a local time of a day on which clocks change."""
    rows = [f"2024-{local[:5]} {clock}" for clock in ("00:30", "01:30", local[6:], "03:30")]
    return text("timestamp,open,high,low,close\n" + "".join(f"{time},1,1,1,1\n" for time in rows))


def times(*times: str) -> Callable[[object], None]:
    """Bars of one price at these times."""
    return text("timestamp,open,high,low,close\n" + "".join(f"{time},1,1,1,1\n" for time in times))


CHECK, PARQUET = "bars check bad.csv", "bars check bad.parquet"
IMPORT = "bars import --input bad.csv --output new.parquet"
WINDOWS = "windows --bars bad.csv --output new.parquet"

BARS = [
    fault("bars check none.parquet", "bars-missing | the file is not there | 1 | must exist, but there is no file"),
    fault(
        "bars check data",
        "bars-folder | a folder in place of a file | 1 | must exist, but there is no file",
        lambda _: Path("data").mkdir(exist_ok=True),
    ),
    fault(CHECK, "bars-pipe | a pipe, which would never end | 1 | there is no file", lambda _: os.mkfifo(BAD)),
    fault("bars check /dev/zero", "bars-device | a device that never ends | 1 | there is no file"),
    fault(CHECK, "bars-link-to-itself | a symbolic link to itself | 1 | bad.csv", lambda _: Path(BAD).symlink_to(BAD)),
    fault(CHECK, "bars-empty | 0 bytes | 3 | is empty (0 bytes)", text("")),
    fault(
        CHECK, "bars-header-alone | a header and no row | 3 | must have bars", text("timestamp,open,high,low,close\n")
    ),
    fault(
        CHECK,
        "bars-no-header | rows without a header | 3 | must have the columns",
        text("2024-01-01,1,1,1,1\n2024-01-02,1,1,1,1\n"),
    ),
    fault(CHECK, "bars-noise | bytes that are no table | 3 | bad.csv", text(bytes(range(256)) * 40)),
    fault(
        CHECK,
        "bars-utf16 | text in UTF-16 | 3 | bad.csv",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n".encode("utf-16")),
    ),
    fault(
        PARQUET,
        "bars-pickle | a pickle named .parquet | 3 | bad.parquet",
        text(b"\x80\x04cos\nsystem\n(S'touch exploded'\ntR.", "bad.parquet"),
    ),
    fault(
        "bars check named.parquet",
        "bars-csv-named-parquet | CSV named .parquet, good otherwise: told by content, read as CSV | 0 | "
        "Every rule holds",
        lambda _: pl.read_parquet("bars.parquet").write_csv("named.parquet"),
    ),
    fault(
        PARQUET,
        "bars-parquet-cut-off | half a parquet file | 3 | bad.parquet",
        altered("bars.parquet", cut_in_half, "bad.parquet"),
    ),
    fault(
        PARQUET,
        "bars-parquet-footer | parquet with a spoiled footer | 3 | bad.parquet",
        altered("bars.parquet", spoil_the_footer, "bad.parquet"),
    ),
    fault(
        PARQUET,
        "bars-parquet-claims-2-gb | parquet that claims a footer of 2 GB | 3 | bad.parquet could not be read",
        altered("bars.parquet", claim_a_huge_footer, "bad.parquet"),
    ),
    fault(
        PARQUET,
        "bars-parquet-bomb | a small parquet file full of one number | 3 | must grow to at most 100 times its size",
        full_of_one_number,
    ),
    fault(
        PARQUET,
        "bars-symbol-multiplied | a long symbol that a dictionary makes many times | 3 | "
        "at most 64 bytes of text in a cell",
        long_symbol_many_times,
    ),
    fault(
        IMPORT,
        "bars-feather-bomb | a small Feather file full of one number, to import | 3 | "
        "must grow to at most 100 times its size",
        feather_full_of_one_number,
    ),
    fault(
        CHECK,
        "bars-gzip | CSV packed with gzip under the name of plain CSV | 3 | is packed with gzip. Unpack it first",
        text(gzip.compress(b"timestamp,open,high,low,close\n", mtime=0)),
    ),
    fault(CHECK, "bars-column-missing | no column `low` | 3 | lacks low", bars(lambda frame: frame.drop("low"))),
    fault(CHECK, "bars-nan | a price of NaN | 3 | close must be a finite number", cell("close", 7, "NaN")),
    fault(
        CHECK,
        "bars-thousands | a comma of thousands in a price | 3 | open must be a finite number",
        cell("open", 7, "1,234.5"),
    ),
    fault(CHECK, "bars-1e300 | a price of 1e300 | 3 | high must be", cell("high", 7, 1e300)),
    fault(CHECK, "bars-1e-300 | a price of 1e-300 | 3 | low must be", cell("low", 7, 1e-300)),
    fault(
        CHECK,
        "bars-time-unreadable | a time that is none | 3 | timestamp must be there and readable",
        cell("timestamp", 7, "soon"),
    ),
    fault(
        IMPORT,
        "bars-mixed-zones | times of two zones in one column | 3 | timestamp must be readable as a time",
        text("timestamp,open,high,low,close\n2024-01-01T00:00:00+02:00,1,1,1,1\n2024-01-01 01:00:00,1,1,1,1\n"),
    ),
    fault(
        f"{IMPORT} --timezone Europe/Berlin",
        "bars-clock-back | one of the two hours of a night on which clocks go back, and nothing tells which "
        "| 3 | every time must exist once in Europe/Berlin (clocks go back",
        clock_changes("10-27 02:30"),
    ),
    fault(
        f"{IMPORT} --timezone Mars/Olympus",
        "bars-zone-unknown | a time zone that does not exist | 2 | --timezone must be a name",
        clock_changes("06-01 02:30"),
    ),
    fault(
        CHECK,
        "bars-column-twice | two columns of one name | 3 | 2 columns are named 'close'",
        text("timestamp,open,high,low,close,close\n2024-01-01,1,1,1,1,2\n"),
    ),
    fault(
        IMPORT,
        "bars-column-twice-import | two columns of one name, to import | 3 | has 2 columns named 'close'",
        text("timestamp,open,high,low,close,close\n2024-01-01,1,1,1,1,2\n"),
    ),
    fault(
        IMPORT,
        "bars-decimal-unclear | prices whose comma may be of thousands or a decimal one | 3 | "
        "fits two: a comma of thousands or a decimal one",
        text("timestamp;open;high;low;close\n2024-01-01;1,085;1,087;1,082;1,086\n"),
    ),
    fault(IMPORT, "bars-zip | a zip archive | 3 | is a zip archive. Unpack it first", text(b"PK\x03\x04" + bytes(60))),
    fault(CHECK, "bars-hdf5 | an HDF5 file | 3 | is an HDF5 file", text(b"\x89HDF\r\n\x1a\n" + bytes(60))),
    fault(
        IMPORT,
        "bars-null-row | a row without prices, to import | 3 | first at line 3 (2024-01-02): found 'null'",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,null,null,null,null\n2024-01-03,1,1,1,1\n"),
    ),
    fault(
        f"{IMPORT} --repair",
        "bars-other-prices | one time twice with other prices, with --repair | 3 | "
        "must have one set of prices and volume",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-01,1,2,1,1\n"),
    ),
    fault(
        f"{IMPORT} --repair",
        "bars-repair-all | a repair that would drop most rows | 3 | "
        "--repair must keep at least half of the rows, but 2 of 3",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,1,0,1,1\n2024-01-03,1,0,1,1\n"),
    ),
    fault(
        CHECK,
        "bars-escape-codes | escape codes of a terminal in a symbol | 0 | \\x1b[31mEUR",
        text("timestamp,open,high,low,close,symbol\n2024-01-01,1,1,1,1,\x1b[31mEUR\n"),
    ),
    fault(
        f"{IMPORT} --timestamp-unit s",
        "bars-unit | milliseconds called seconds | 3 | pass ms",
        times("1709546400000", "1709550000000"),
    ),
    fault(
        CHECK,
        "bars-day-or-month-checked | such dates in a bar file | 3 | timestamp must be there and readable as UTC",
        times("01/02/2024 09:30", "01/02/2024 10:30"),
    ),
    fault(
        f"{IMPORT} --timestamp-format %Y-%m-%d --day-first true",
        "bars-format-and-day-first | a format and an order of day and month | 2 | --day-first must come without",
        times("2024-03-04"),
    ),
    fault(
        f"{IMPORT} --separator ;",
        "bars-separator | a separator that is not the file's | 3 | names no timestamp",
        clock_changes("06-01 02:30"),
    ),
    fault(
        CHECK,
        "bars-duplicate | one time twice | 3 | a symbol and timestamp must have one bar",
        bars(lambda frame: pl.concat([frame.head(10), frame.slice(9)])),
    ),
    fault(
        CHECK,
        "bars-unsorted | times that go back | 3 | timestamps must increase within a symbol",
        bars(lambda frame: frame.reverse()),
    ),
    fault(
        CHECK,
        "bars-symbol-missing | a symbol left out in one row | 3 | symbol must be there",
        bars(
            lambda frame: frame.with_columns(
                symbol=pl.when(pl.int_range(len(frame)) == 7).then(None).otherwise(pl.lit("A"))
            )
        ),
    ),
    fault(
        WINDOWS,
        "bars-104 | 104 bars, one fewer than a window | 3 | "
        "104 bars give none of 105 (0 dropped for gaps): no symbol has so many",
        bars(lambda frame: frame.head(104)),
    ),
    fault(
        WINDOWS,
        "bars-106 | 106 bars at a stride of 5: one window, no more | 0 | 1 windows in new.parquet",
        bars(lambda frame: frame.head(106)),
        leaves=("new.parquet",),
    ),
    fault(
        f"{WINDOWS} --max-gap-hours 0.5",
        "bars-all-gaps | bars days apart | 3 | "
        "dropped for gaps): each holds one above 0.5 h. Pass --max-gap-hours 1 or more",
        bars(lambda frame: frame),
    ),
]
