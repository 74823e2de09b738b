"""Features that use the future, labels that are in the features, and places in a window that reveal the class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from moola.core.features import FEATURE_NAMES, ZSCORE_BARS, ZSCORE_CLIP, relative_features, rolling_zscores
from moola.core.seeds import generator
from moola.core.spans import place_in_zone
from moola.evaluation.class_metrics import average_precision
from moola.leakcheck.subject import Finding, Subject
from moola.tables.window_file import WindowTable

# As shares of a feature's own spread (returns) or of 1 (ratios, z-scores).
ROUNDING, WRONG = 1e-6, 1e-3
FLAT = 1e-9
N_PERTURBED, N_MOMENTS = 8, 6
RETURNS, RATIOS, ZSCORES = slice(0, 4), slice(4, 7), slice(7, 11)
CAUSALITY_ADVICE = "Compute the features again with `moola convert`."
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
    return [Finding("stored features", "leak", found, CAUSALITY_ADVICE, row, bar, FEATURE_NAMES[RATIOS.start])]


def rebuilt_features(stored: Features) -> tuple[Features, Bool[np.ndarray, "windows bars features"]]:
    """Return what the features must be by the stored returns, and where these determine it.

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
        findings.append(Finding("stored features", "leak", found, CAUSALITY_ADVICE, row, bar, name))
    if findings:
        return findings
    if worst.max() > ROUNDING:
        column = int(worst.argmax())
        found = (
            f"features agree with {source} up to rounding ({worst.max():.1g} of the spread in {FEATURE_NAMES[column]})"
        )
        return [Finding("stored features", "note", found, CAUSALITY_ADVICE)]
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
        # Users divide by the population's or by the sample's deviation: compare proportions.
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
    "a z-score over the whole window, future bars included": _whole_window,
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


# A label that is in the features: one number at one bar that gives the class away.


N_PERMUTATIONS = 200
MAX_ROWS = 1500
# AUROC 0.98 either way up, as distance from a coin.
NEAR_PERFECT = 0.96
BY_FAR = 0.75
NEAR_PERFECT_RATIO = 0.8
READINGS = ("the mean over its bars", "a ridge regression over its bars")
LABEL_ADVICE = "Find what writes this value from the label; compute the features again with `moola convert`."
RULE = (
    "a leak is one value at one bar with AUROC of at least 0.98 where no permutation of the labels, over all bars and "
    "features, comes to three quarters of its distance from 0.5"
)


def label_in_features(subject: Subject) -> list[Finding]:
    """Look for one feature at one bar that separates a class of the train rows (nearly) perfectly.

    The rule, with d = |2 AUROC - 1|: d >= 0.96, and the largest d over all bars, features and 200
    permutations of the labels is at most 0.75 d. Real patterns rarely get near the first, and few rows
    never get past the second.
    """
    rows = subject.split.train
    rows = rows[[subject.table.label[row] is not None for row in rows]]
    if len(rows) > MAX_ROWS:
        rows = np.sort(generator(subject.options.seed, "leakcheck", "rows").permutation(rows)[:MAX_ROWS])
    classes = sorted(set(subject.table.label[rows].tolist()))
    if len(classes) < 2:
        found = f"train has {len(classes)} classes: nothing to separate"
        return [Finding("label in features", "note", found)]
    values = subject.features[rows].reshape(len(rows), -1)
    ranks = rankdata(values, axis=0)
    findings, strongest = [], (0.0, 0, "", 0.0)
    for name in classes[1:] if len(classes) == 2 else classes:
        positive = subject.table.label[rows] == name
        distance = _distance(ranks, positive[None, :].astype(np.float64))[0]
        by_chance = _largest_by_chance(ranks, positive, subject.options.seed)
        place = int(distance.argmax())
        if distance[place] >= NEAR_PERFECT and by_chance <= BY_FAR * distance[place]:
            findings.append(_leak(subject, rows, values[:, place], positive, name, place, by_chance))
        strongest = max(strongest, (float(distance[place]), place, name, by_chance))
    return (findings or [_fine(strongest, len(rows))]) + constant_features(subject)


def label_in_columns(subject: Subject) -> list[Finding]:
    """Look for one feature whose values over a whole window predict a class of the held-out rows too well.

    A label that is spread over the bars of a column shows at no single bar. Two simple models read each column
    alone: the mean over its bars, and a ridge regression over them, fitted on train rows and evaluated on val and test
    rows. A leak is an AUROC of at least 0.98, and for body and wicks, which hardly depend on what comes, of at
    least 0.9, where no permutation of the labels comes to three quarters of its distance from 0.5.
    """
    what, table = "label in columns", subject.table
    labelled = np.array([name is not None for name in table.label])
    held_out = np.concatenate([subject.split.val, subject.split.test])
    train, judged = (rows[labelled[rows]] for rows in (subject.split.train, held_out))
    train = train[:: max(len(train) // MAX_ROWS, 1)]
    classes = sorted(set(table.label[train].tolist()))
    positives = {name: table.label[judged] == name for name in (classes[1:] if len(classes) == 2 else classes)}
    positives = {name: is_one for name, is_one in positives.items() if 0 < is_one.sum() < len(judged)}
    if len(classes) < 2 or not positives:
        return [Finding(what, "note", "train or held-out rows have one class: nothing to separate")]
    rng = generator(subject.options.seed, "leakcheck", "columns")
    strongest, findings = (0.0, ""), []
    for column, feature in enumerate(FEATURE_NAMES):
        least = NEAR_PERFECT_RATIO if feature.endswith("ratio") else NEAR_PERFECT
        for name, is_one in positives.items():
            target = (table.label[train] == name).astype(np.float64)
            scores = _readings(subject.features[train][..., column], subject.features[judged][..., column], target)
            labellings = np.stack([is_one, *(rng.permutation(is_one) for _ in range(N_PERMUTATIONS))])
            distance = _distance(rankdata(scores, axis=0), labellings.astype(np.float64))
            how = int(distance[0].argmax())
            found, by_chance = float(distance[0, how]), float(distance[1:].max())
            strongest = max(strongest, (found, feature))
            if found >= least and by_chance <= BY_FAR * found:
                told = (
                    f"{feature} alone, by {READINGS[how]}, separates {name} from the rest on {len(judged)} held-out "
                    f"rows: "
                    f"AUROC {0.5 + found / 2:.3f}; the best of {N_PERMUTATIONS} shuffled labellings is "
                    f"{0.5 + by_chance / 2:.3f}"
                )
                findings.append(Finding(what, "leak", told, LABEL_ADVICE, int(judged[0]), None, feature))
    fine = f"no column alone separates a class of {len(judged)} held-out rows; the best, {strongest[1]}, has AUROC "
    return findings or [Finding(what, "ok", f"{fine}{0.5 + strongest[0] / 2:.3f}")]


def _readings(
    train: Float[np.ndarray, "train bars"], judged: Float[np.ndarray, "judged bars"], target: np.ndarray
) -> Float[np.ndarray, "judged 2"]:
    """Score the evaluated rows by one column's mean over bars, and by a ridge regression of the target on its bars."""
    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    known, asked = (train - mean) / scale, (judged - mean) / scale
    weights = np.linalg.solve(known @ known.T + known.shape[1] * np.eye(len(known)), target - target.mean())
    return np.stack([judged.mean(axis=1), asked @ (known.T @ weights)], axis=1)


def _distance(
    ranks: Float[np.ndarray, "rows values"], positive: Float[np.ndarray, "labellings rows"]
) -> Float[np.ndarray, "labellings values"]:
    """|2 AUROC - 1| of each value for each labelling (Mann and Whitney 1947; ties count half)."""
    n_positive = positive.sum(axis=1, keepdims=True)
    n_negative = positive.shape[1] - n_positive
    wins = positive @ ranks - n_positive * (n_positive + 1) / 2
    distance: np.ndarray = np.abs(2 * wins / (n_positive * n_negative) - 1)
    return distance


def _largest_by_chance(ranks: np.ndarray, positive: np.ndarray, seed: int) -> float:
    rng = generator(seed, "leakcheck", "labels")
    shuffled = np.stack([rng.permutation(positive) for _ in range(N_PERMUTATIONS)]).astype(np.float64)
    return float(_distance(ranks, shuffled).max())


def _leak(
    subject: Subject, rows: np.ndarray, value: np.ndarray, positive: np.ndarray, name: str, place: int, by_chance: float
) -> Finding:
    bar, column = divmod(place, len(FEATURE_NAMES))
    ones = np.ones((1, len(rows)))
    precision = max(float(average_precision(sign * value, positive, ones)[0]) for sign in (1.0, -1.0))
    row = int(rows[int(positive.argmax())])
    found = (
        f"{FEATURE_NAMES[column]} at bar {bar} alone separates {name} from the rest on {len(rows)} train rows: average "
        f"precision {precision:.3f} at a share of {positive.mean():.3f}; the best AUROC of {N_PERMUTATIONS} shuffled "
        f"labellings is {0.5 + by_chance / 2:.3f} (as {subject.name(row)}: {value[int(positive.argmax())]:.6g})"
    )
    return Finding("label in features", "leak", found, LABEL_ADVICE, row, bar, FEATURE_NAMES[column])


def _fine(strongest: tuple[float, int, str, float], n_rows: int) -> Finding:
    distance, place, name, by_chance = strongest
    bar, column = divmod(place, len(FEATURE_NAMES))
    found = (
        f"no single value gives a class away on {n_rows} train rows; the strongest is {FEATURE_NAMES[column]} at bar "
        f"{bar} for {name}, AUROC {0.5 + distance / 2:.3f} (shuffled labels reach {0.5 + by_chance / 2:.3f}; {RULE})"
    )
    return Finding("label in features", "ok", found)


def constant_features(subject: Subject) -> list[Finding]:
    """Features that never change in the train rows: they teach nothing, and hint at a fault upstream."""
    values = subject.features[subject.split.train]
    flat = np.ptp(values, axis=(0, 1)) == 0
    if not flat.any():
        return []
    names = ", ".join(FEATURE_NAMES[column] for column in np.flatnonzero(flat))
    found = f"{int(flat.sum())} features have one value in all train rows: {names}"
    return [Finding("label in features", "note", found, "Look at the bars they come from.", feature=names)]


WHAT = "place in window"
LEAST_ROWS, N_BINS, N_SHUFFLES = 40, 5, 1000
ADVICE = "Cut windows again at random places: moola windows --spans."


def place_in_window(subject: Subject) -> list[Finding]:
    """Let a model of positions alone guess classes: it must be no better than on shuffled classes."""
    return [place_finding(subject.table, subject.options.seed)]


def place_finding(table: WindowTable, seed: int) -> Finding:
    """Judge a table: the commonest class of each fifth of the inner zone is guessed, from one half for the other.

    It is a leak where none of 1,000 shuffles of the classes is guessed so well. A span's length is no part of its
    place, for it is part of the pattern; rows of the same bars count once.
    """
    _, once = np.unique(table.equal_bars(), return_index=True)
    rows = once[(table.expansion_start[once] >= 0) & (table.label[once] != None)]  # noqa: E711
    names, label = np.unique(table.label[rows].astype(str), return_inverse=True)
    if len(rows) < LEAST_ROWS or len(names) < 2:
        return Finding(
            WHAT, "note", f"{len(rows)} windows of {len(names)} classes with pointers are too few for a check"
        )
    place = place_in_zone(table.expansion_start[rows], table.expansion_end[rows], table.window_bars)
    cell = np.minimum((place * N_BINS).astype(int), N_BINS - 1)
    half = (np.arange(len(rows)) >= len(rows) // 2).astype(int)
    right = _guessed(cell, label, half, len(names))
    rng = generator(seed, "leakcheck", "place")
    shuffled = [_guessed(cell, rng.permutation(label), half, len(names)) for _ in range(N_SHUFFLES)]
    found = (
        f"a model of positions alone guesses the class of {right:.3f} of {len(rows)} windows; of shuffled classes it "
        f"guesses {np.mean(shuffled):.3f}, at most {max(shuffled):.3f}"
    )
    is_leak = right > max(shuffled)
    return Finding(WHAT, "leak" if is_leak else "ok", found, ADVICE if is_leak else "")


def _guessed(cell: np.ndarray, label: np.ndarray, half: np.ndarray, n_classes: int) -> float:
    """Return the share of rows whose class is the commonest one of their cell in the other half."""
    n_right = 0
    for part in (0, 1):
        learned, judged = half != part, half == part
        counts = np.zeros((N_BINS, n_classes), dtype=np.int64)
        np.add.at(counts, (cell[learned], label[learned]), 1)
        n_right += int((counts.argmax(axis=1)[cell[judged]] == label[judged]).sum())
    return n_right / len(cell)
