"""Bar files that are missing, damaged, foreign or wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tests.faults.fault import Fault

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
    """Write 200,000 bars whose symbol of 9,000 letters stands once in the file and would be 1.8 GB of text."""
    frame = pl.read_parquet("bars.parquet").head(1).drop("symbol", strict=False)
    rows = pl.concat([frame] * 1000).with_columns(symbol=pl.lit("S" * 9000))
    pl.concat([rows] * 200).write_parquet("bad.parquet", compression="zstd")


def feather_full_of_one_number(_patch: object) -> None:
    """Write 8 million rows of five equal numbers: 320 MB in some 70 kB."""
    ones = pl.repeat(1.0, 8_000_000, eager=True)
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


def full_of_one_number(_patch: object) -> None:
    """A parquet file of some kilobytes that unpacks to 480 MB."""
    pl.repeat(1.0, 60_000_000, eager=True).alias("open").to_frame().write_parquet("bad.parquet", compression="zstd")


def clock_changes(local: str) -> Callable[[object], None]:
    """Bars of one day whose third bar starts at a local time of a day on which clocks change."""
    rows = [f"2024-{local[:5]} {clock}" for clock in ("00:30", "01:30", local[6:], "03:30")]
    return text("timestamp,open,high,low,close\n" + "".join(f"{time},1,1,1,1\n" for time in rows))


def times(*times: str) -> Callable[[object], None]:
    """Bars of one price at these times."""
    return text("timestamp,open,high,low,close\n" + "".join(f"{time},1,1,1,1\n" for time in times))


CHECK, IMPORT = "bars check bad.csv", "bars import --input bad.csv --output new.parquet"
WINDOWS = "windows --bars bad.csv --output new.parquet"

BARS = [
    Fault("bars-missing", "the file is not there", "bars check none.parquet", 1, "must exist, but there is no file"),
    Fault(
        "bars-folder",
        "a folder in place of a file",
        "bars check data",
        1,
        "must exist, but there is no file",
        lambda _: Path("data").mkdir(exist_ok=True),
    ),
    Fault("bars-pipe", "a pipe, which would never end", CHECK, 1, "there is no file", lambda _: os.mkfifo(BAD)),
    Fault("bars-device", "a device that never ends", "bars check /dev/zero", 1, "there is no file"),
    Fault("bars-link-to-itself", "a symbolic link to itself", CHECK, 1, "bad.csv", lambda _: Path(BAD).symlink_to(BAD)),
    Fault("bars-empty", "0 bytes", CHECK, 3, "is empty (0 bytes)", text("")),
    Fault(
        "bars-header-alone", "a header and no row", CHECK, 3, "must have bars", text("timestamp,open,high,low,close\n")
    ),
    Fault(
        "bars-no-header",
        "rows without a header",
        CHECK,
        3,
        "must have the columns",
        text("2024-01-01,1,1,1,1\n2024-01-02,1,1,1,1\n"),
    ),
    Fault("bars-noise", "bytes that are no table", CHECK, 3, "bad.csv", text(bytes(range(256)) * 40)),
    Fault(
        "bars-utf16",
        "text in UTF-16",
        CHECK,
        3,
        "bad.csv",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n".encode("utf-16")),
    ),
    Fault(
        "bars-pickle",
        "a pickle named .parquet",
        "bars check bad.parquet",
        3,
        "bad.parquet",
        text(b"\x80\x04cos\nsystem\n(S'touch exploded'\ntR.", "bad.parquet"),
    ),
    Fault(
        "bars-csv-named-parquet",
        "CSV named .parquet, good otherwise: told by content, read as CSV",
        "bars check named.parquet",
        0,
        "Every rule holds",
        lambda _: pl.read_parquet("bars.parquet").write_csv("named.parquet"),
    ),
    Fault(
        "bars-parquet-cut-off",
        "half a parquet file",
        "bars check bad.parquet",
        3,
        "bad.parquet",
        altered("bars.parquet", cut_in_half, "bad.parquet"),
    ),
    Fault(
        "bars-parquet-footer",
        "parquet with a spoiled footer",
        "bars check bad.parquet",
        3,
        "bad.parquet",
        altered("bars.parquet", spoil_the_footer, "bad.parquet"),
    ),
    Fault(
        "bars-parquet-claims-2-gb",
        "parquet that claims a footer of 2 GB",
        "bars check bad.parquet",
        3,
        "bad.parquet could not be read",
        altered("bars.parquet", claim_a_huge_footer, "bad.parquet"),
    ),
    Fault(
        "bars-parquet-bomb",
        "a small parquet file full of one number",
        "bars check bad.parquet",
        3,
        "must grow to at most 100 times its size",
        full_of_one_number,
    ),
    Fault(
        "bars-symbol-multiplied",
        "a long symbol that a dictionary makes many times",
        "bars check bad.parquet",
        3,
        "at most 64 bytes of text in a cell",
        long_symbol_many_times,
    ),
    Fault(
        "bars-feather-bomb",
        "a small Feather file full of one number, to import",
        IMPORT,
        3,
        "must grow to at most 100 times its size",
        feather_full_of_one_number,
    ),
    Fault(
        "bars-gzip",
        "CSV packed with gzip under the name of plain CSV",
        CHECK,
        3,
        "is packed with gzip. Unpack it first",
        text(gzip.compress(b"timestamp,open,high,low,close\n", mtime=0)),
    ),
    Fault("bars-column-missing", "no column `low`", CHECK, 3, "lacks low", bars(lambda frame: frame.drop("low"))),
    Fault("bars-nan", "a price of NaN", CHECK, 3, "close must be a finite number", cell("close", 7, "NaN")),
    Fault("bars-infinite", "an infinite price", CHECK, 3, "high must be a finite number", cell("high", 7, "inf")),
    Fault("bars-price-is-text", "a word as a price", CHECK, 3, "open must be a finite number", cell("open", 7, "abc")),
    Fault("bars-price-empty", "a price left out", CHECK, 3, "low must be a finite number", cell("low", 7, "")),
    Fault(
        "bars-thousands",
        "a comma of thousands in a price",
        CHECK,
        3,
        "open must be a finite number",
        cell("open", 7, "1,234.5"),
    ),
    Fault("bars-zero", "a price of 0", CHECK, 3, "low must be above 0", cell("low", 7, 0)),
    Fault("bars-negative", "a price below 0", CHECK, 3, "low must be above 0", cell("low", 7, -1)),
    Fault("bars-1e300", "a price of 1e300", CHECK, 3, "high must be", cell("high", 7, 1e300)),
    Fault("bars-1e-300", "a price of 1e-300", CHECK, 3, "low must be", cell("low", 7, 1e-300)),
    Fault(
        "bars-high-below-close",
        "a high below the close",
        CHECK,
        3,
        "high must be at least max(open, close)",
        cell("high", 7, 1),
    ),
    Fault(
        "bars-low-above-open",
        "a low above the open",
        CHECK,
        3,
        "low must be at most min(open, close)",
        cell("low", 7, 1000),
    ),
    Fault(
        "bars-time-unreadable",
        "a time that is none",
        CHECK,
        3,
        "timestamp must be there and readable",
        cell("timestamp", 7, "soon"),
    ),
    Fault(
        "bars-time-is-number",
        "times as plain numbers",
        "bars check bad.parquet",
        3,
        "timestamp must be a time in UTC",
        bars(lambda frame: frame.with_columns(pl.col("timestamp").cast(pl.Int64)), "bad.parquet"),
    ),
    Fault(
        "bars-mixed-zones",
        "times of two zones in one column",
        IMPORT,
        3,
        "timestamp must be readable as a time",
        text("timestamp,open,high,low,close\n2024-01-01T00:00:00+02:00,1,1,1,1\n2024-01-01 01:00:00,1,1,1,1\n"),
    ),
    Fault(
        "bars-clock-forward",
        "a local time that does not exist (clocks go forward)",
        f"{IMPORT} --timezone Europe/Berlin",
        3,
        "every time must exist once in Europe/Berlin (no such time",
        clock_changes("03-31 02:30"),
    ),
    Fault(
        "bars-clock-back",
        "one of the two hours of a night on which clocks go back, and nothing tells which",
        f"{IMPORT} --timezone Europe/Berlin",
        3,
        "every time must exist once in Europe/Berlin (clocks go back",
        clock_changes("10-27 02:30"),
    ),
    Fault(
        "bars-zone-unknown",
        "a time zone that does not exist",
        f"{IMPORT} --timezone Mars/Olympus",
        2,
        "--timezone must be a name",
        clock_changes("06-01 02:30"),
    ),
    Fault(
        "bars-column-twice",
        "two columns of one name",
        CHECK,
        3,
        "2 columns are named 'close'",
        text("timestamp,open,high,low,close,close\n2024-01-01,1,1,1,1,2\n"),
    ),
    Fault(
        "bars-column-twice-import",
        "two columns of one name, to import",
        IMPORT,
        3,
        "has 2 columns named 'close'",
        text("timestamp,open,high,low,close,close\n2024-01-01,1,1,1,1,2\n"),
    ),
    Fault(
        "bars-decimal-unclear",
        "prices whose comma may be of thousands or a decimal one",
        IMPORT,
        3,
        "fits two: a comma of thousands or a decimal one",
        text("timestamp;open;high;low;close\n2024-01-01;1,085;1,087;1,082;1,086\n"),
    ),
    Fault(
        "bars-zip",
        "a zip archive",
        IMPORT,
        3,
        "is a zip archive. Unpack it first",
        text(b"PK\x03\x04" + bytes(60)),
    ),
    Fault(
        "bars-hdf5",
        "an HDF5 file",
        CHECK,
        3,
        "is an HDF5 file",
        text(b"\x89HDF\r\n\x1a\n" + bytes(60)),
    ),
    Fault(
        "bars-null-row",
        "a row without prices, to import",
        IMPORT,
        3,
        "first at line 3 (2024-01-02): found 'null'",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,null,null,null,null\n2024-01-03,1,1,1,1\n"),
    ),
    Fault(
        "bars-other-prices",
        "one time twice with other prices, with --repair",
        f"{IMPORT} --repair",
        3,
        "must have one set of prices and volume",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-01,1,2,1,1\n"),
    ),
    Fault(
        "bars-repair-all",
        "a repair that would drop most rows",
        f"{IMPORT} --repair",
        3,
        "--repair must keep at least half of the rows, but 2 of 3",
        text("timestamp,open,high,low,close\n2024-01-01,1,1,1,1\n2024-01-02,1,0,1,1\n2024-01-03,1,0,1,1\n"),
    ),
    Fault(
        "bars-escape-codes",
        "escape codes of a terminal in a symbol",
        CHECK,
        0,
        r"\x1b[31mEUR",
        text("timestamp,open,high,low,close,symbol\n2024-01-01,1,1,1,1,\x1b[31mEUR\n"),
    ),
    Fault(
        "bars-hour-twice",
        "both hours of a night on which clocks go back, in order: read",
        f"{IMPORT} --timezone Europe/Berlin",
        0,
        "4 bars in new.parquet",
        times("2024-10-27 01:30", "2024-10-27 02:30", "2024-10-27 02:30", "2024-10-27 03:30"),
        leaves=("new.parquet",),
    ),
    Fault(
        "bars-date-numbers",
        "dates written as numbers: read as dates",
        IMPORT,
        0,
        "2024-03-04T00:00:00",
        times("20240304", "20240305"),
        leaves=("new.parquet",),
    ),
    Fault(
        "bars-unit",
        "milliseconds called seconds",
        f"{IMPORT} --timestamp-unit s",
        3,
        "say ms",
        times("1709546400000", "1709550000000"),
    ),
    Fault("bars-row-numbers", "row numbers as times", IMPORT, 3, "times must be counts of", times("0", "1")),
    Fault("bars-spreadsheet-days", "days of a spreadsheet", IMPORT, 3, "--timestamp-unit excel", times("45355.5")),
    Fault(
        "bars-day-or-month",
        "dates of which nobody knows the month",
        IMPORT,
        3,
        "every date must have one reading",
        times("01/02/2024 09:30", "01/02/2024 10:30"),
    ),
    Fault(
        "bars-day-or-month-checked",
        "such dates in a bar file",
        CHECK,
        3,
        "timestamp must be there and readable as UTC",
        times("01/02/2024 09:30", "01/02/2024 10:30"),
    ),
    Fault(
        "bars-zone-beside",
        "times beside a zone of several meanings",
        IMPORT,
        3,
        "must have one known meaning ('IST')",
        times("2024-03-04 10:00 IST"),
    ),
    Fault(
        "bars-format",
        "a format that reads no whole time",
        f"{IMPORT} --timestamp-format '%Y-%m-%d %I:%M'",
        3,
        "12-hour directive",
        times("2024-03-04 10:00"),
    ),
    Fault(
        "bars-format-and-day-first",
        "a format and an order of day and month",
        f"{IMPORT} --timestamp-format %Y-%m-%d --day-first true",
        2,
        "--day-first must come without",
        times("2024-03-04"),
    ),
    Fault("bars-to-come", "a bar of next century", IMPORT, 3, "must begin by tomorrow", times("2124-03-04")),
    Fault(
        "bars-separator",
        "a separator that is not the file's",
        f"{IMPORT} --separator ;",
        3,
        "names no timestamp",
        clock_changes("06-01 02:30"),
    ),
    Fault(
        "bars-duplicate",
        "one time twice",
        CHECK,
        3,
        "a symbol and timestamp must have one bar",
        bars(lambda frame: pl.concat([frame.head(10), frame.slice(9)])),
    ),
    Fault(
        "bars-unsorted",
        "times that go back",
        CHECK,
        3,
        "timestamps must increase within a symbol",
        bars(lambda frame: frame.reverse()),
    ),
    Fault(
        "bars-symbol-missing",
        "a symbol left out in one row",
        CHECK,
        3,
        "symbol must be there",
        bars(
            lambda frame: frame.with_columns(
                symbol=pl.when(pl.int_range(len(frame)) == 7).then(None).otherwise(pl.lit("A"))
            )
        ),
    ),
    Fault(
        "bars-104",
        "104 bars, one fewer than a window",
        WINDOWS,
        3,
        "104 bars give none of 105 (0 dropped for gaps): no symbol has so many",
        bars(lambda frame: frame.head(104)),
    ),
    Fault(
        "bars-106",
        "106 bars at a stride of 5: one window, no more",
        WINDOWS,
        0,
        "1 windows in new.parquet",
        bars(lambda frame: frame.head(106)),
        leaves=("new.parquet",),
    ),
    Fault(
        "bars-all-gaps",
        "bars days apart",
        f"{WINDOWS} --max-gap-hours 0.5",
        3,
        "dropped for gaps): each holds one above 0.5 h. Pass --max-gap-hours 1 or more",
        bars(lambda frame: frame),
    ),
]
