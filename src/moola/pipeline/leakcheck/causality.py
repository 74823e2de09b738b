"""Features that know the future: stored ones against recomputed ones, and the future perturbed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from moola.core.features import FEATURE_NAMES, ZSCORE_BARS, ZSCORE_CLIP, relative_features, rolling_zscores
from moola.core.seeds import generator
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject

# As shares of a feature's own spread (returns) or of 1 (ratios, z-scores).
ROUNDING, WRONG = 1e-6, 1e-3
FLAT = 1e-9
N_PERTURBED, N_MOMENTS = 8, 6
RETURNS, RATIOS, ZSCORES = slice(0, 4), slice(4, 7), slice(7, 11)
ADVICE = "Compute the features anew with `moola convert`."
Features = Float[np.ndarray, "windows bars features"]


def stored_features(subject: Subject) -> list[Finding]:
    """Compare stored features with those of the stored bars, or, without bars, with each other."""
    stored, ohlc = subject.table.features, subject.table.ohlc
    if stored is None:
        found = "the file holds bars: features are computed from them when they are read"
        return [Finding("stored features", "ok", found)]
    if ohlc is not None:
        return _compare(subject, stored, relative_features(ohlc), np.ones(stored.shape, dtype=bool), "the stored bars")
    expected, known = rebuilt_features(stored)
    findings = _compare(subject, stored, expected, known, "their own returns")
    findings += _ratio_sums(subject, stored)
    found = "the file has no bars: body and wick ratios cannot be recomputed, only their sum"
    return [*findings, Finding("stored features", "note", found, "Convert a 4-D file, which keeps its bars.")]


def _ratio_sums(subject: Subject, stored: Features) -> list[Finding]:
    """Body and wicks are the whole range of a bar: their shares are 1 together, or all 0 on a bar without a range."""
    ratios = stored[:, :, RATIOS]
    off = np.abs(ratios.sum(axis=-1) - (ratios != 0).any(axis=-1))
    wrong = off > WRONG
    if not wrong.any():
        return []
    row, bar = (int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
    found = (
        f"body and wicks must be 1 together, or 0 on a bar without a range, but at {int(wrong.sum())} bars of "
        f"{int(wrong.any(axis=1).sum())} windows they are not; the worst: {subject.name(row)} bar {bar}, "
        f"{ratios[row, bar].sum():.6g} together"
    )
    return [Finding("stored features", "leak", found, ADVICE, row, bar, FEATURE_NAMES[RATIOS.start])]


def rebuilt_features(stored: Features) -> tuple[Features, Bool[np.ndarray, "windows bars features"]]:
    """Return what stored returns say the features must be, and where they say it.

    Returns at the first bar must be 0; prices up to their scale follow from the returns, and z-scores
    know no scale. Bars whose last 20 prices hardly differ are left out: there rounding decides.
    """
    expected, known = stored.copy(), np.zeros(stored.shape, dtype=bool)
    returns = stored[:, :, RETURNS].copy()
    expected[:, 0, RETURNS], known[:, 0, RETURNS] = 0.0, True
    returns[:, 0] = 0.0
    prices = np.exp(np.cumsum(returns, axis=1))
    expected[:, :, ZSCORES] = rolling_zscores(prices)
    known[:, :, ZSCORES] = _spread(prices) > FLAT
    known[:, 0, ZSCORES] = True
    return expected, known


def _spread(prices: np.ndarray) -> np.ndarray:
    """Range of the last 20 prices of each bar as a share of the price."""
    first = np.repeat(prices[:, :1], ZSCORE_BARS - 1, axis=1)
    views = np.lib.stride_tricks.sliding_window_view(np.concatenate([first, prices], axis=1), ZSCORE_BARS, axis=1)
    spread: np.ndarray = (views.max(axis=-1) - views.min(axis=-1)) / prices
    return spread


def _compare(subject: Subject, stored: Features, expected: Features, known: np.ndarray, source: str) -> list[Finding]:
    scale = np.ones(len(FEATURE_NAMES))
    spread = expected[:, :, RETURNS].std(axis=(0, 1))
    scale[RETURNS] = np.where(spread > 0, spread, 1.0)
    off = np.where(known, np.abs(stored - expected) / scale, 0.0)
    worst = off.max(axis=(0, 1))
    findings = []
    for column in np.flatnonzero(worst > WRONG).tolist():
        wrong = off[:, :, column] > WRONG
        row, bar = (int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        name = FEATURE_NAMES[column]
        found = (
            f"{name} is not what {source} give at {int(wrong.sum())} bars of {int(wrong.any(axis=1).sum())} windows, "
            f"first {subject.name(row)} bar {bar}: {stored[row, bar, column]:.6g} stored, "
            f"{expected[row, bar, column]:.6g} recomputed{_cause(subject, stored, expected, column)}"
        )
        findings.append(Finding("stored features", "leak", found, ADVICE, row, bar, name))
    if findings:
        return findings
    if worst.max() > ROUNDING:
        column = int(worst.argmax())
        found = (
            f"features agree with {source} up to rounding ({worst.max():.1g} of the spread in {FEATURE_NAMES[column]})"
        )
        return [Finding("stored features", "note", found, ADVICE)]
    found = f"features agree with {source} to {ROUNDING:g} of their spread, in {len(stored)} windows"
    return [Finding("stored features", "ok", found)]


def _cause(subject: Subject, stored: Features, expected: Features, column: int) -> str:
    """Name the mistake that gives exactly these values, where it is a known one."""
    mine = stored[:, :, column]
    if np.allclose(
        mine[:, :-1], expected[:, 1:, column], atol=ROUNDING * max(float(expected[:, :, column].std()), 1e-12)
    ):
        return " (every value is that of the next bar: shifted by one)"
    kind = column - ZSCORES.start
    if kind < 0:
        return ""
    ohlc = subject.table.ohlc
    prices = ohlc[:, :, kind] if ohlc is not None else np.exp(np.cumsum(stored[:, :, kind], axis=1))
    inner = slice(ZSCORE_BARS, -ZSCORE_BARS)
    for name, compute in WRONG_ZSCORES.items():
        values = np.clip(compute(prices), -ZSCORE_CLIP, ZSCORE_CLIP)
        # Users divide by the population's or by the sample's deviation: judge proportions.
        if mine[:, inner].size and np.corrcoef(values[:, inner].ravel(), mine[:, inner].ravel())[0, 1] > 0.9999:
            return f" ({name})"
    return ""


def _whole_window(prices: np.ndarray) -> np.ndarray:
    spread = prices.std(axis=1, keepdims=True)
    return (prices - prices.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)


def _centred(n_after: int) -> Callable[[np.ndarray], np.ndarray]:
    def compute(prices: np.ndarray) -> np.ndarray:
        if prices.shape[1] < ZSCORE_BARS:
            return np.zeros_like(prices)
        n_before = ZSCORE_BARS - 1 - n_after
        padded = np.pad(prices, ((0, 0), (n_before, n_after)), mode="edge")
        views = np.lib.stride_tricks.sliding_window_view(padded, ZSCORE_BARS, axis=1)
        spread = views.std(axis=-1)
        zscore: np.ndarray = (prices - views.mean(axis=-1)) / np.where(spread > 0, spread, 1.0)
        return zscore

    return compute


WRONG_ZSCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a z-score over the whole window, the bars to come included": _whole_window,
    "centred on the bar: the 9 bars after it are in its mean": _centred(9),
    "centred on the bar: the 10 bars after it are in its mean": _centred(10),
}


def perturbed_future(subject: Subject) -> list[Finding]:
    """Change the bars after some moments: features up to then must stay as they are, to the bit."""
    if subject.table.ohlc is None:
        return [Finding("perturbed future", "note", "the file has no bars to perturb")]
    rng = generator(subject.options.seed, "leakcheck", "windows")
    rows = np.sort(rng.permutation(len(subject.table))[:N_PERTURBED])
    found = future_dependence(subject.table.ohlc[rows], relative_features, subject.options.seed)
    if found is None:
        fine = f"other bars after any of {N_MOMENTS} moments change nothing before, in {len(rows)} windows, to the bit"
        return [Finding("perturbed future", "ok", fine)]
    at, bar, column, moment = found
    row = int(rows[at])
    text = f"{FEATURE_NAMES[column]} of {subject.name(row)} at bar {bar} changes when bars after bar {moment} change"
    return [Finding("perturbed future", "leak", text, "Report it: moola's features must be causal.", row, bar,
                    FEATURE_NAMES[column])]  # fmt: skip


def future_dependence(
    ohlc: Float[np.ndarray, "windows bars 4"], compute: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[int, int, int, int] | None:
    """Return `(window, bar, feature, moment)` of a value that bars after the moment change; None if causal."""
    before = compute(ohlc)
    n_bars = ohlc.shape[1]
    rng = generator(seed, "leakcheck", "future")
    for moment in np.unique(np.linspace(0, n_bars - 2, N_MOMENTS).astype(np.int64)) if n_bars > 1 else []:
        changed = ohlc.copy()
        factor = np.exp(rng.normal(0.0, 0.01, (len(ohlc), n_bars - moment - 1, 1)))
        changed[:, moment + 1 :] *= factor
        differs = compute(changed)[:, : moment + 1] != before[:, : moment + 1]
        if differs.any():
            row, bar, column = np.unravel_index(int(differs.argmax()), differs.shape)
            return int(row), int(bar), int(column), int(moment)
    return None
