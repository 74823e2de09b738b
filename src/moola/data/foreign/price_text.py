"""Numbers as people write them: decimal commas, marks between thousands, and words for no number."""

from __future__ import annotations

import logging

import polars as pl

from moola.data.foreign.table import ForeignTable
from moola.errors import InvalidData

log = logging.getLogger(__name__)

# What programs write where there is no number; compared in small letters.
EMPTY = ("", "null", "nan", "na", "n/a", "#n/a", "none", "nil", "-", "--")
SPACES = r"(\d)[\s'’\x{a0}\x{202f}](\d{3})"
NUMBER = r"^[-+]?\d[\d.,]*$"
# One mark with three digits behind it says nothing; anything else says which mark is the decimal one.
POINT = r",\d{3},|,.*\.|^[-+]?\d*\.(\d{0,2}|\d{4,})$|^[-+]?(0|\d{4,})?\.\d{3}$"
COMMA = r"\.\d{3}\.|\..*,|^[-+]?\d*,(\d{0,2}|\d{4,})$|^[-+]?(0|\d{4,})?,\d{3}$"
# Indian numbers have groups of two above the first thousand.
GROUPED = {
    ".": r"^[-+]?\d{1,3}((,\d{3})+|(,\d{2})+,\d{3})(\.\d*)?$",
    ",": r"^[-+]?\d{1,3}((\.\d{3})+|(\.\d{2})+\.\d{3})(,\d*)?$",
}


def plain_text(column: pl.Series) -> pl.Series:
    """Return cells without spaces and money signs, null where they say that there is no number."""
    text = column.cast(pl.String).str.strip_chars()
    text = text.str.replace(r"^([-+]?)[$€£¥]", "$1").str.replace_all("−", "-", literal=True)
    # Groups of three overlap at one digit, so that each pass frees every other mark.
    text = text.str.replace_all(SPACES, "$1$2").str.replace_all(SPACES, "$1$2")
    return _blanked(text, text.str.to_lowercase().is_in(EMPTY))


def _blanked(text: pl.Series, rows: pl.Series) -> pl.Series:
    return text.zip_with(~rows, pl.Series([None], dtype=pl.String))


def read_numbers(table: ForeignTable, columns: list[str], decimal: str | None, path: object) -> list[pl.Series]:
    """Read columns of text as numbers; a cell that is no number is null.

    Parameters
    ----------
    decimal
        The decimal mark; found from the cells of all the columns together when None.

    Raises
    ------
    InvalidData
        Both marks are decimal ones, or every comma has three digits behind it, which fits both readings.
    """
    found = {name: table.frame[name] for name in columns}
    if decimal != ",":
        # Most files are plain, and need no look at each cell.
        plain = [column.cast(pl.Float64, strict=False) for column in found.values()]
        if all(one.null_count() == column.null_count() for one, column in zip(plain, found.values(), strict=True)):
            return [one.fill_nan(None) for one in plain]
    texts = {name: plain_text(column) for name, column in found.items() if not column.dtype.is_numeric()}
    has_marks = any(text.str.contains(",", literal=True).any() or _twice(text).any() for text in texts.values())
    mark = decimal or (_decimal_mark(table, texts, path) if has_marks else ".")
    return [_with_mark(texts[name], mark) if name in texts else found[name].cast(pl.Float64) for name in columns]


def _twice(text: pl.Series) -> pl.Series:
    return text.str.count_matches(".", literal=True) > 1


def _decimal_mark(table: ForeignTable, columns: dict[str, pl.Series], path: object) -> str:
    """Find the decimal mark that every cell allows; prices are asked before the volume."""
    texts = list(columns.values())
    prices = [text for name, text in columns.items() if name != "volume"]
    for group in (prices, texts):
        points, commas = (_first(group, pattern) for pattern in (POINT, COMMA))
        if points is not None and commas is not None:
            raise InvalidData(
                f"numbers must have one decimal mark, but {path} has both: {points[1]!r} at {table.place(points[0])} "
                f"and {commas[1]!r} at {table.place(commas[0])}. Fix the file, or say --decimal . or --decimal ,"
            )
        if points is not None or commas is not None:
            mark = "." if points is not None else ","
            if mark == "," or _first(texts, ",") is not None:
                log.info(
                    "Numbers are read with a decimal %s, as in %r (--decimal).",
                    "point" if mark == "." else "comma",
                    (points or commas or (0, ""))[1],
                )
            return mark
    doubtful = _first(texts, ",")
    assert doubtful is not None
    raise InvalidData(
        f"numbers must have one reading, but {doubtful[1]!r} of {path} ({table.place(doubtful[0])}) fits two: a comma "
        "of thousands or a decimal one. Say --decimal . or --decimal ,"
    )


def _first(texts: list[pl.Series], pattern: str) -> tuple[int, str] | None:
    """Return the first row, and its cell, of the numbers in which a pattern is found."""
    found = []
    for text in texts:
        fits = text.str.contains(NUMBER) & text.str.contains(pattern)
        if fits.any():
            row = int(fits.arg_max() or 0)
            found.append((row, str(text[row])))
    return min(found, default=None)


def _with_mark(text: pl.Series, mark: str) -> pl.Series:
    """Read numbers with a decimal mark; the other one may stand between groups of three digits alone."""
    other = "," if mark == "." else "."
    has_other = text.str.contains(other, literal=True)
    fits = ~has_other | text.str.contains(GROUPED[mark])
    plain = _blanked(text, ~fits).str.replace_all(other, "", literal=True).str.replace(mark, ".", literal=True)
    return plain.cast(pl.Float64, strict=False)
