"""Definitions drawn at random: families, their ranges, and the published rules that no draw may repeat.

A definition says where a move starts and ends in any window, without a label. Many of them, redrawn
for every run, teach an encoder what moves are made of rather than one idea of them (programmatic labels
as a pretext, after Ratner et al., NeurIPS 2016; many cheap targets, after Asano et al., ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moola.core import expansions
from moola.core.move_finders import Definition
from moola.core.seeds import generator
from moola.core.windows import WINDOW_BARS
from moola.errors import WrongUsage

LEAST_WINDOW_BARS = 8
# How many definitions of nine belong to each family.
FAMILIES = {"move": 3, "leg": 1, "breakout": 1, "calm": 1, "shift": 1, "turn": 1, "shock": 1}
EXPONENTS = (0.25, 0.9)
SHORTEST_BARS, LONGEST_BARS, LOOK_BARS = (2, 7), (12, 44), (8, 29)
FIRST_SHARE, LAST_SHARE = (0.15, 0.35), (0.65, 0.9)
REACHES = {"leg": (1.5, 5.0), "breakout": (0.0, 0.3), "shock": (0.4, 1.5)}
# Length exponent, shortest, longest and look-back of rules that label windows: `autolabel`'s own and
# those of the published few-label benchmarks. A draw within the tolerances of one is drawn again.
PUBLISHED = (
    (expansions.LENGTH_EXPONENT, expansions.MIN_BARS, expansions.MAX_BARS, expansions.PRIOR_BARS),
    (0.5, 4, 24, 20),
)
# Look-back and reach of the published breakout, and how near no draw may come.
PUBLISHED_BREAKOUT, BREAKOUT_TOLERANCES = (24, 0.1), (3, 0.05)
TOLERANCES = (0.08, 1, 4, 4)


def draw_definitions(n_definitions: int, window_bars: int, seed: int) -> list[Definition]:
    """Draw definitions for windows of one length; lengths in bars scale with it.

    The same seed draws the same definitions; more of them begin with the same ones.

    Raises
    ------
    WrongUsage
        Windows are shorter than 8 bars.
    """
    rng = generator(seed, "definitions")
    scale = window_bars / WINDOW_BARS

    def draw(family: str) -> Definition:
        return Definition(
            family,
            round(rng.uniform(*FIRST_SHARE) * window_bars),
            round(rng.uniform(*LAST_SHARE) * window_bars),
            max(round(rng.integers(*SHORTEST_BARS, endpoint=True) * scale), 1),
            max(round(rng.integers(*LONGEST_BARS, endpoint=True) * scale), 2),
            float(rng.uniform(*EXPONENTS)),
            max(round(rng.integers(*LOOK_BARS, endpoint=True) * scale), 2),
            float(rng.uniform(*REACHES.get(family, (0.0, 0.0)))),
        )

    return drawn_in_turn(FAMILIES, draw, n_definitions, window_bars)


def drawn_in_turn(
    families: dict[str, int], draw: Callable[[str], Definition], n_definitions: int, window_bars: int
) -> list[Definition]:
    """Draw definitions of families in turn, each as often as its count; those that repeat a rule are drawn again.

    Raises
    ------
    WrongUsage
        Windows have no room for a state before, a move and a state after.
    """
    if window_bars < LEAST_WINDOW_BARS:
        raise WrongUsage(
            f"windows must have at least {LEAST_WINDOW_BARS} bars for moves of random definitions, but they have "
            f"{window_bars}. Give longer windows, or --arms without moves."
        )
    order = [family for family, count in families.items() for _ in range(count)]
    drawn: list[Definition] = []
    while len(drawn) < n_definitions:
        definition = draw(order[len(drawn) % len(order)])
        if not repeats_a_rule(definition, window_bars):
            drawn.append(definition)
    return drawn


def repeats_a_rule(definition: Definition, window_bars: int = WINDOW_BARS) -> bool:
    """Return whether a definition is, within tolerances, one that labels of this project come from."""
    scale = WINDOW_BARS / window_bars
    bars = [size * scale for size in (definition.shortest, definition.longest, definition.look_bars)]
    if definition.family == "breakout":
        return _near((bars[2], definition.reach), PUBLISHED_BREAKOUT, BREAKOUT_TOLERANCES)
    if definition.family != "move":
        return False
    mine = (definition.exponent, *bars)
    return any(_near(mine, theirs, TOLERANCES) for theirs in PUBLISHED)


def _near(mine: Sequence[float], theirs: Sequence[float], tolerances: Sequence[float]) -> bool:
    return all(abs(a - b) <= most for a, b, most in zip(mine, theirs, tolerances, strict=True))
