"""What is checked, and what a check reports: `ok`, `note` or `leak` with row, bar and feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
import torch

from moola.core.splits import PARTS, Intervals, Split, index_problems
from moola.errors import InvalidData
from moola.files import sha256_file
from moola.models.model_files import EncoderFile, read_encoder
from moola.options.judging_options import LeakcheckOptions
from moola.options.option_fields import RUNS_ROOT
from moola.provenance.learned_times import with_window_bars
from moola.runs import run_store
from moola.tables.split_file import SplitFile, read_split
from moola.tables.window_file import WindowTable, read_windows
from moola.training.device import prepare_device


@dataclass(frozen=True)
class Subject:
    """Everything that the checks read."""

    options: LeakcheckOptions
    table: WindowTable
    split_file: SplitFile
    data_sha256: str
    split_sha256: str
    encoder: EncoderFile | None
    run: run_store.Run | None
    device: torch.device

    @property
    def split(self) -> Split:
        """Row numbers of each part."""
        return self.split_file.split

    @cached_property
    def intervals(self) -> Intervals:
        """Times of the windows, and groups of equal bars."""
        return self.table.intervals()

    @cached_property
    def features(self) -> np.ndarray:
        """Stored features, or those computed from the bars where none are stored."""
        return self.table.all_features

    def pairs_of_parts(self) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Yield each two parts that have rows, the earlier one first, and the rows of both."""
        for earlier, later in combinations(PARTS, 2):
            before, after = self.split.part(earlier), self.split.part(later)
            if len(before) and len(after):
                yield earlier, later, before, after

    def name(self, row: int) -> str:
        """Name a row for a person."""
        return f"row {row} ({self.table.window_id[row]})"


def open_subject(options: LeakcheckOptions) -> Subject:
    """Read what is to be checked.

    Raises
    ------
    InvalidData
        A file breaks its contract, or the split has rows that the data has not: then nothing can be
        checked. Leaks raise nothing.
    """
    device = prepare_device(options.device, options.threads)
    options = with_window_bars(options)
    table = read_windows(options.data, options.window_bars)
    file = read_split(options.split)
    problems = [problem for problem in index_problems(file.split, len(table)) if "share no row" not in problem.rule]
    if problems:
        raise InvalidData.from_problems(options.split, problems, "Write the split again with `moola split`.")
    encoder = read_encoder(options.pretrained_encoder) if options.pretrained_encoder else None
    run = run_store.find_run(RUNS_ROOT, options.run) if options.run else None
    return Subject(options, table, file, sha256_file(options.data), sha256_file(options.split), encoder, run, device)


# The result of a check: `ok`, `note` or `leak`, with the row, bar and feature where there is one.


State = Literal["ok", "note", "leak"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    what
        The check, as named in `CHECKS`.
    state
        `ok`, `note` (could not be checked, or worth knowing) or `leak`.
    found
        What was found, with its count and the worst or first place.
    advice
        One thing to do; empty where there is nothing.
    row, bar, feature
        Row of the data file, bar of that window, and feature, where the finding has one.
    """

    what: str
    state: State
    found: str
    advice: str = ""
    row: int | None = None
    bar: int | None = None
    feature: str | None = None
