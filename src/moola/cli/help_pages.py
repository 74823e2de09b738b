"""Pages of help: options in groups without boxes, so that a command fits a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts.help.formatters.default import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions


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
        columns_of = get_default_command_columns if panel.format == "command" else get_default_parameter_columns
        table = TableSpec().build(columns_of(console, options, panel.entries), panel.entries)
        console.print(panel.title, highlight=False)
        console.print(DefaultStyled(Padding(table, (0, 0, 0, 2))))
