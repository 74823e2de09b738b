"""The families of definitions: a finder each. A new one is one callable, one entry here, one share in `FAMILIES`."""

from __future__ import annotations

from collections.abc import Callable

from moola.core.definitions.barriers import shock_to_barrier
from moola.core.definitions.drawing import Definition
from moola.core.definitions.spans import (
    LogPrices,
    Pointers,
    calmest_stretch,
    first_breakout,
    largest_leg,
    sharpest_turn,
    strongest_move,
    volatility_shift,
)

FINDERS: dict[str, Callable[[LogPrices, Definition], Pointers]] = {
    "move": strongest_move,
    "leg": largest_leg,
    "breakout": first_breakout,
    "calm": calmest_stretch,
    "shift": volatility_shift,
    "turn": sharpest_turn,
    "shock": shock_to_barrier,
}
