"""Pages of help: options in groups without boxes, each as short as it can be, so that a command fits a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts.help.formatters.default import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions


# Defaults that say nothing beyond the text beside them.
EMPTY = ("False", "()", "None")


def shortened(entry: HelpEntry) -> HelpEntry:
    """Return an entry with a switch as `--[no-]name`, no empty default, and all choices at once called all."""
    if entry.negative_names == tuple(f"--no-{name[2:]}" for name in entry.positive_names):
        # The backslash keeps rich from reading the brackets as markup.
        names = tuple(rf"--\[no-]{name[2:]}" for name in entry.positive_names)
        entry = entry.copy(positive_names=names, negative_names=())
    if entry.default in EMPTY:
        return entry.copy(default=None)
    if entry.choices and entry.default == str(entry.choices):
        return entry.copy(default="all")
    return entry


class HelpPages(DefaultFormatter):
    """Writes each group as a title and its indented rows."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Write one group."""
        from cyclopts.help.specs import (
            DefaultStyled,
            TableSpec,
            get_default_command_columns,
            get_default_parameter_columns,
        )
        from rich.padding import Padding

        if not panel.entries:
            return
        entries = [shortened(entry) for entry in panel.entries]
        columns_of = get_default_command_columns if panel.format == "command" else get_default_parameter_columns
        table = TableSpec().build(columns_of(console, options, entries), entries)
        console.print(panel.title, highlight=False)
        console.print(DefaultStyled(Padding(table, (0, 0, 0, 2))))
