"""The overview page: bars and events packed into one HTML file with the script that draws them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from moola import __version__
from moola.files import write_atomic
from moola.scan.scanning import Overview, SymbolOverview

TEMPLATE, STYLE = "page.html.j2", "style.css"
SCRIPTS = ("unpack.js", "chart.js", "table.js", "app.js")
# Prices are drawn, not computed with: seven digits are more than a screen has.
DIGITS = 7


def write_overview(path: Path, content: Overview) -> int:
    """Write the page, atomically, and return its size in bytes."""
    page = build_overview(content)
    write_atomic(path, page)
    return len(page)


def build_overview(content: Overview) -> bytes:
    """Build the page, the same bytes each time.

    Style and script are named by their hashes in the page's content policy: nothing that a symbol's name could
    smuggle in would run, and nothing is fetched from anywhere.
    """
    style, script = _resource(STYLE), "".join(f"{_resource(name)}\n" for name in SCRIPTS)
    # Inside a script element only `<` could end it.
    data = json.dumps(_packed(content), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_resource(TEMPLATE)).render(
        content=content,
        first_shown=sum(len(symbol.bars) for symbol in content.symbols),
        data=Markup(data),  # noqa: S704
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
    )
    return page.encode("utf-8", errors="replace")


def _resource(name: str) -> str:
    return resources.files("moola.reports.overview").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(content: Overview) -> dict[str, Any]:
    return {
        "classes": content.class_names,
        "live": content.is_live,
        "symbols": [_packed_symbol(symbol) for symbol in content.symbols],
    }


def _packed_symbol(symbol: SymbolOverview) -> dict[str, Any]:
    merged, events = symbol.merged, symbol.events
    return {
        "name": symbol.name,
        "first": symbol.first_bar,
        **packed_bars(symbol.bars.start_us, symbol.bars.ohlc),
        "events": {
            "bar": merged.bar.tolist(),
            "low": merged.low.tolist(),
            "high": merged.high.tolist(),
            "known": merged.known_bar.tolist(),
            "label": merged.class_prob.argmax(axis=1).tolist(),
            "label_prob": np.round(merged.class_prob.max(axis=1), 4).tolist(),
            "event_prob": np.round(merged.event_prob, 4).tolist(),
            "agree": merged.n_agree.tolist(),
            "saw": merged.n_saw.tolist(),
            "cut": merged.cut.tolist(),
            "learned": symbol.learned.tolist(),
            "gap_hours": np.round(events.longest_gap_us / 3.6e9, 2).tolist(),
        },
    }


def packed_bars(start_us: np.ndarray, ohlc: np.ndarray) -> dict[str, Any]:
    """Pack bars as differences, which compress well: times in milliseconds, prices in steps of their seventh digit.

    A close is stored as the step from the close before, an open from that too, high and low from the bar's body.
    """
    if not len(start_us):
        return {"n": 0, "decimals": 0, "times": "", "prices": ""}
    decimals = DIGITS - 1 - int(np.floor(np.log10(ohlc.max())))
    steps = np.rint(ohlc * 10.0**decimals)
    open_, high, low, close = steps.T
    before = np.concatenate([[0.0], close[:-1]])
    prices = np.stack([open_ - before, high - np.maximum(open_, close), np.minimum(open_, close) - low, close - before])
    return {
        "n": len(start_us),
        "decimals": decimals,
        "times": _squeezed(np.diff(start_us / 1000, prepend=0.0).astype("<f8")),
        "prices": _squeezed(prices.astype("<i4")),
    }


def _squeezed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()
