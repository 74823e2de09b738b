"""Ranges: every number of every command has one, and what is out of it is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import WrongUsage
from moola.options.option_fields import SHARE, Range, ranges_of, refuse_out_of_range
from moola.options.option_sources import COMMAND_OPTIONS
from moola.options.training_options import PretrainTs2VecOptions

# Any seed does; how many bars may be seen depends on the window; the width is compared with the data; a file names
# its draws.
FREE = {"seed", "input_dim", "draws", "BenchmarkOptions.seeds", "visible_bars"}


def numbers(options: type) -> list[str]:
    hints = get_type_hints(options)
    return [field.name for field in fields(options) if {int, float} & {hints[field.name], *get_args(hints[field.name])}]


@pytest.mark.parametrize("command", COMMAND_OPTIONS)
def test_every_number_has_a_range_or_a_reason(command):
    options = COMMAND_OPTIONS[command]
    lacking = {name for name in numbers(options) if name not in ranges_of(options)}
    assert not {name for name in lacking if not {name, f"{options.__name__}.{name}"} & FREE}


@pytest.mark.parametrize("command", COMMAND_OPTIONS)
def test_every_range_is_of_a_number(command):
    options = COMMAND_OPTIONS[command]
    assert set(ranges_of(options)) <= set(numbers(options))


@pytest.mark.parametrize("command", COMMAND_OPTIONS)
def test_defaults_are_in_their_range(command):
    options = COMMAND_OPTIONS[command]
    for field in fields(options):
        allowed = ranges_of(options).get(field.name)
        if allowed is not None and isinstance(field.default, int | float):
            assert field.default in allowed, field.name


@pytest.mark.parametrize(
    ("allowed", "said", "inside", "outside"),
    [
        (Range(1), "at least 1", [1, 10**9], [0, -1]),
        (Range(0.0, open_low=True), "above 0", [1e-300, 1e300], [0.0, -1.0]),
        (Range(1, 256), "within 1 to 256", [1, 256], [0, 257]),
        (Range(0.0, 1.0, True, True), "between 0 and 1", [0.5], [0.0, 1.0]),
        (Range(0.0, 1.0, open_high=True), "at least 0 and below 1", [0.0], [1.0, -0.1]),
        (Range(0.0, 1.0, open_low=True), "above 0 and at most 1", [1.0], [0.0, 1.1]),
    ],
)
def test_what_a_range_says_is_what_it_holds(allowed, said, inside, outside):
    assert str(allowed) == said
    assert all(number in allowed for number in inside)
    assert not any(number in allowed for number in [*outside, math.nan])


@given(st.integers(-5, 5))
def test_a_number_out_of_range_is_refused_by_name(epochs):
    options = PretrainTs2VecOptions(input=Path("bars.parquet"), output=Path("encoder.pt"), epochs=epochs)
    if epochs >= 1:
        refuse_out_of_range(options)
        return
    with pytest.raises(WrongUsage, match=f"--epochs must be at least 1, but it is {epochs}"):
        refuse_out_of_range(options)


def test_each_number_of_several_is_looked_at():
    @dataclass(frozen=True)
    class Several:
        label_fractions: Annotated[tuple[float, ...], SHARE] = (0.5, 1.5)

    with pytest.raises(WrongUsage, match=r"--label-fractions must be above 0 and at most 1, but it is 1\.5"):
        refuse_out_of_range(Several())
