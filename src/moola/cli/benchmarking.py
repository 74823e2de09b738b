"""The command that puts models side by side on one benchmark."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.progress import FitProgress
from moola.config.benchmark_options import BenchmarkOptions
from moola.errors import Interrupted
from moola.locks import alone, lock_beside

WIDEST = 400


def benchmark(*, options: Annotated[BenchmarkOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Put references, peers and networks side by side on few labels.

    Several draws and seeds, one judge.

    Example: moola benchmark --train train.parquet --test test.parquet --models summary_trees scratch
    --seeds 17 18 19 --against summary_trees
    """
    from moola.pipeline.benchmark import page, story

    try:
        with (
            alone(lock_beside(options.output), f"benchmark into {options.output}"),
            FitProgress("benchmark") as progress,
        ):
            result = story.benchmark(options, progress)
    except KeyboardInterrupt as stop:
        raise Interrupted(f"Interrupted; finished fits and encoders are in {options.output}.", go_on=()) from stop
    screen = Screen(console)
    screen.say(f"{page.introduction(result)}; {result['n_fits']} fits, {result['seconds']:.0f} s")
    screen.say(_table(*page.standing_rows(result)))
    if result["differences"]:
        screen.say("Paired differences; in brackets, in how many draws the model is better:")
        screen.say(_table(*page.difference_rows(result)))
    for note in page.notes(result):
        screen.say(f"  {note}")
    screen.say(f"Tables in {Path(result['output']) / story.RESULT} and {story.PAGE} beside it")
    screen.result(result)
    return 0


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Draw a table as wide as it needs to be: a figure that is folded in two cannot be read."""
    from rich import box
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    drawn = io.StringIO()
    RichConsole(file=drawn, width=WIDEST, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines() if line.strip())
