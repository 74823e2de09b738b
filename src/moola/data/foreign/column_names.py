"""Which column of a foreign file is which of the contract: by `--columns`, by its name, or by its place."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from moola.config.table_options import ImportOptions
from moola.data.contracts.frames import plain_name
from moola.data.foreign.table import ForeignTable
from moola.data.foreign.time_columns import are_days, belong_together
from moola.errors import InvalidData, WrongUsage

log = logging.getLogger(__name__)

# Numbers before names, as in Alpha Vantage's "1. open".
COUNTED = re.compile(r"^\d+\. +")
# What writers of tables call an index without a name of its own; it may count rows, so any other time goes first.
INDEX_NAMES = ("", "index", "unnamed: 0", "__index_level_0__")
DAY_NAMES = ("date", "day", "dtyyyymmdd", "yyyymmdd", "trade date", "trade_date")
TIME_NAMES = ("time", "hhmmss", "hhmm", "time of day", "trade time", "trade_time")


class Names:
    """Names of the contract and what else they are called.

    Attributes
    ----------
    known
        Names of the contract, in its order.
    synonyms
        Name of the contract by another one, in small letters.
    """

    def __init__(self, known: tuple[str, ...], synonyms: dict[str, str], options: ImportOptions) -> None:
        self.known, self.synonyms, self.options = known, synonyms, options
        self.given = dict(pair.partition("=")[::2] for pair in options.columns)

    def among(self, columns: list[str]) -> set[str]:
        """Return the names of the contract that a list of column names gives."""
        given = {name for name, column in self.given.items() if column in columns}
        return given | {name for column in columns if (name := self._of(column))}

    def _of(self, column: str) -> str:
        plain = _plain(column)
        if plain in DAY_NAMES or plain in TIME_NAMES:
            return "timestamp"
        name = self.synonyms.get(plain, plain)
        return name if name in self.known else ""

    def mapping(self, table: ForeignTable) -> dict[str, str]:
        """Return the file's column by name of the contract; `date` and `time` in place of `timestamp` where both are.

        Raises
        ------
        WrongUsage
            A pair of `--columns` names no column, or none of the contract's.
        InvalidData
            Two columns fit one name equally.
        """
        columns = table.frame.columns
        mapping = self._given(columns)
        times = self._times(table) if not mapping.keys() & {"timestamp", "date", "time"} else {}
        for name, column in {**times, **(table.layout or {})}.items():
            mapping.setdefault(name, column)
        for name in self.known[1:]:
            if name not in mapping and (fitting := self._fitting(name, columns, set(mapping.values()))):
                mapping[name] = fitting
        return {name: mapping[name] for name in ("date", "time", *self.known) if name in mapping}

    def _given(self, columns: list[str]) -> dict[str, str]:
        names = ("date", "time", *self.known)
        for pair in self.options.columns:
            name, _, column = pair.partition("=")
            if name not in names or column not in columns:
                what = (
                    f"{name!r} is none of {', '.join(self.known)}, nor date and time"
                    if name not in names
                    else f"there is no column {column!r} (but {', '.join(columns[:20])})"
                )
                raise WrongUsage(f"--columns must hold pairs name=Column, but in {pair!r} {what}. Fix the pair.")
        if ("date" in self.given) != ("time" in self.given) or ("date" in self.given and "timestamp" in self.given):
            raise WrongUsage(
                f"--columns must give timestamp, or date and time together, but it gives {', '.join(self.given)}. "
                "Fix the pairs."
            )
        return dict(self.given)

    def _times(self, table: ForeignTable) -> dict[str, str]:
        """Find the column of times, or the two whose texts make one."""
        columns = table.frame.columns
        taken = set(self.given.values()) | set((table.layout or {}).values())
        free = {column: _plain(column) for column in columns if column not in taken}
        exact = self._only("timestamp", [column for column, plain in free.items() if plain == "timestamp"])
        if exact:
            return {"timestamp": exact}
        for day in (column for column, plain in free.items() if plain in DAY_NAMES):
            for time in (column for column, plain in free.items() if plain in TIME_NAMES and column != day):
                if belong_together(table.frame[day], table.frame[time]):
                    log.info("Times are %r and %r joined.", day, time)
                    return {"date": day, "time": time}
        named = [column for column in free if self._of(column) == "timestamp" and _plain(column) not in INDEX_NAMES]
        # A day alone says less than a time beside it.
        full = [column for column in named if not are_days(table.frame[column])] or named
        full = full or [column for column, plain in free.items() if plain in INDEX_NAMES]
        if not full:
            return {}
        if len(named) > 1:
            others = ", ".join(repr(column) for column in named if column != full[0])
            log.info("Times are those of %r and not of %s (--columns timestamp=<column>).", full[0], others)
        return {"timestamp": full[0]}

    def _fitting(self, name: str, columns: list[str], taken: set[str]) -> str | None:
        """Return the column that a name of the contract means: its own name, another one, or one inside an object."""
        free = [column for column in columns if column not in taken]
        ways: tuple[Callable[[str], bool], ...] = (
            lambda column: _plain(column) == name,
            lambda column: self._of(column) == name,
            lambda column: "." in column and self._of(column.rpartition(".")[2]) == name,
        )
        for fits in ways:
            if found := [column for column in free if fits(column)]:
                return self._only(name, found)
        return None

    def _only(self, name: str, columns: list[str]) -> str | None:
        if len(columns) > 1:
            raise InvalidData(
                f"one column must be the {name}, but {self.options.input} has {len(columns)} that may be "
                f"({', '.join(repr(column) for column in columns[:5])}). Say --columns {name}={columns[0]} or another."
            )
        return columns[0] if columns else None


def _plain(column: str) -> str:
    return COUNTED.sub("", plain_name(column.strip(" \"'")))
