"""The command that writes a report."""

from __future__ import annotations

from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.report_options import ReportOptions


def report(*, options: Annotated[ReportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Write one HTML page of a run: verdict, figures, charts and windows.

    It opens without a network.

    Example: moola report --run artifacts/runs/<RUN_ID>
    """
    from moola.reports.material import report_run

    result = report_run(options)
    screen = Screen(console)
    screen.say(f"Run {result['run_id']}, {result['n_windows']} windows of {result['part']}")
    if result["verdict"] is None:
        screen.say(f"  No verdict: {result['reason']}")
    else:
        screen.say(f"Verdict: {result['verdict']}: {result['reason']}")
    for leak in result["leaks"]:
        screen.say(f"  NOT LEAK-PROOF: {leak}.")
    if result["no_bars"]:
        screen.say(f"  Bars are not drawn: {result['no_bars']}.")
    screen.say(f"Report in {result['report']} ({result['size_bytes'] / 1e3:.0f} kB); any browser opens it.")
    following = "promote" if result["verdict"] == "promote" else "gate"
    screen.next_command("moola", following, "--run", options.run)
    screen.result(result)
    return 0
