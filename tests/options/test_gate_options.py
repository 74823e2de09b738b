"""Options that reach the gate by other commands' options: none is lost on the way."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from moola.errors import WrongUsage
from moola.options.judging_options import GateOptions, PromoteOptions, ReportOptions, VerdictOptions, gate_options
from moola.options.option_fields import MIN_GAIN

GIVEN = GateOptions(run=Path("r"), baseline=Path("b"), name="n.pt", seed=3, min_gain=0.05)


def test_promote_passes_every_option_of_the_gate():
    values = {field.name: getattr(GIVEN, field.name) for field in fields(VerdictOptions)} | {"run": GIVEN.run}
    assert PromoteOptions(**values).gate_options() == GIVEN
    with pytest.raises(WrongUsage, match="must be given --run or --back"):
        PromoteOptions().gate_options()


def test_a_report_shows_the_verdict_for_its_own_least_gain():
    options = ReportOptions(run=GIVEN.run, baseline=GIVEN.baseline, seed=3, min_gain=0.05)
    assert gate_options(options) == replace(GIVEN, name=GateOptions(run=Path("r")).name)
    assert (
        gate_options(ReportOptions(run=Path("r"))).min_gain == GateOptions(run=Path("r")).min_gain == MIN_GAIN == 0.01
    )
