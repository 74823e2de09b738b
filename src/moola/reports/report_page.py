"""From what a report shows to the bytes of its page, the same bytes each time; and the page of spans similar to a
marked one."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from moola import __version__
from moola.core.bars import Bars, minute_text
from moola.core.expansions import ENDS, is_rule
from moola.evaluation.class_metrics import PrecisionRecall, confusion, precision_recall
from moola.evaluation.pointer_metrics import first_rows, nearest_pointers
from moola.files import write_atomic
from moola.reports import svg_charts
from moola.reports.contents import ReportContent
from moola.reports.events_section import events_section
from moola.reports.figure_rows import figure_interval, figure_rows, headlines, shown
from moola.reports.gallery import Card, gallery
from moola.reports.svg_charts import Key, Picture, span_chart
from moola.stages.find_similar import Found
from moola.tables.prediction_table import Predictions

# The page itself: one template, one style sheet, nothing from elsewhere.


TEMPLATE, STYLE = "template.html.j2", "style.css"


def render(template_name: str = TEMPLATE, **context: Any) -> bytes:
    """Fill a template; whatever is not markup made here is escaped.

    The style sheet is named by its hash in the page's content policy, so that no style, script, image
    or request that text could smuggle in would be followed.
    """
    template, style = (_resource(name) for name in (template_name, STYLE))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # The style sheet is a file of this package.
    sheet = Markup(style)  # noqa: S704
    page = environment.from_string(template).render(style=sheet, style_hash=hashed, **context)
    return page.encode("utf-8", errors="replace")


def _resource(name: str) -> str:
    return resources.files("moola.reports").joinpath(name).read_text(encoding="utf-8")


N_SHADES = 10


def report(path: Path, content: ReportContent) -> None:
    """Build a page and put it at `path`, atomically."""
    write_atomic(path, build_report(content))


def build_report(content: ReportContent) -> bytes:
    """Build one page: HTML that needs no network, no script and no other file."""
    evaluation, predictions = content.evaluation, content.predictions
    figures = evaluation["figures"]
    return render(
        content=content,
        summary=summary(evaluation),
        labelled_by=labelled_by(predictions),
        headlines=headlines(figures),
        rows=figure_rows(figures, content.references),
        class_pictures=_class_pictures(evaluation, predictions),
        confusion=_confusion_rows(predictions),
        pointer_pictures=_pointer_pictures(predictions),
        training_pictures=_training_pictures(content),
        groups=gallery(predictions, content.ohlc),
        events=None if content.events is None else events_section(content.events),
        has_curves=predictions.curves is not None,
        version=__version__,
    )


def summary(evaluation: Mapping[str, Any]) -> str:
    """Summarise in one sentence how much better the model is than the class share."""
    n, part = evaluation["n_windows"], evaluation["part"]
    told = []
    for code, name in (("pr_auc", "PR-AUC"), ("brier", "Brier")):
        figure = evaluation["figures"].get(code)
        if figure is not None and figure.get("value") is not None:
            told.append(
                f"{name} is {shown(code, figure['value'])} (95 % interval {figure_interval(code, figure)}) against "
                f"{shown(code, figure.get('trivial'))} of the class share"
            )
    where = f"On {n} window{'s' if n != 1 else ''}{f' of {part}' if part else ''}"
    return f"{where}, {' and '.join(told)}." if told else f"{where}: no class figure exists, see the reasons below."


def labelled_by(predictions: Predictions) -> list[tuple[str, int, bool]]:
    """Return who labelled the evaluated windows, how many each, and whether that is a rule; most first."""
    if predictions.annotator is None:
        return []
    counts = Counter(str(name) for name in predictions.annotator.tolist() if name is not None)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(name, n, is_rule(name)) for name, n in ordered]


def _class_pictures(evaluation: Mapping[str, Any], predictions: Predictions) -> list[Picture]:
    pictures = []
    if evaluation.get("reliability"):
        keys = [
            Key("model", "this model"),
            Key("reference", "perfect calibration"),
            Key("band", "95 % of a perfect model"),
        ]
        caption = "Each dot is a bin of windows; a dot inside the band is consistent with perfect calibration."
        perfect = (evaluation.get("perfect_ece") or {}).get("width")
        if perfect:
            caption += f" A perfectly calibrated model would show an ECE of {perfect[0]:.3f} to {perfect[1]:.3f} here."
        pictures.append(Picture("Reliability", svg_charts.reliability_chart(evaluation["reliability"]), caption, keys))
    curves = _precision_recall(predictions)
    if curves:
        keys = [
            Key(
                f"c{k % svg_charts.N_CLASS_COLOURS}",
                f"{name}: average precision {curve.area:.3f}, share {curve.share:.3f}",
            )
            for k, (name, curve) in enumerate(curves.items())
        ]
        caption = "The area under the steps is the average precision. Dashed: a class's share, what guessing reaches."
        pictures.append(Picture("Precision and recall", svg_charts.precision_recall_chart(curves), caption, keys))
    return pictures


def _precision_recall(predictions: Predictions) -> dict[str, PrecisionRecall]:
    labelled = predictions.take(np.flatnonzero(predictions.class_index >= 0))
    found = {
        name: precision_recall(labelled.class_prob[:, k], labelled.class_index == k)
        for k, name in enumerate(labelled.class_names)
    }
    return {name: curve for name, curve in found.items() if curve is not None}


def _confusion_rows(predictions: Predictions) -> list[tuple[str, list[tuple[int, str, int]]]]:
    """Return rows of (count, share of the true class, shade 0 to 10); none without labels."""
    counts = confusion(predictions)
    if not counts.sum():
        return []
    rows = []
    for name, row in zip(predictions.class_names, counts.tolist(), strict=True):
        total = sum(row)
        cells = [(n, f"{n / total:.0%}" if total else "–", round(n / total * N_SHADES) if total else 0) for n in row]
        rows.append((name, cells))
    return rows


def _pointer_pictures(predictions: Predictions) -> list[Picture]:
    rows = first_rows(predictions)
    true, predicted = nearest_pointers(predictions)[rows], predictions.predicted_bar[rows]
    both = ((true >= 0) & (predicted >= 0)).all(axis=1)
    if not both.any():
        return []
    late = (predicted - true)[both]
    chart = svg_charts.lead_lag_chart({end: late[:, i] for i, end in enumerate(ENDS)})
    caption = (
        f"{int(both.sum())} windows with a true and a predicted expansion; those {svg_charts.LEAD_LAG_BARS} bars or "
        "more off share the outermost column."
    )
    keys = [Key("start", "start"), Key("end", "end"), Key("band", f"within {svg_charts.NEAR_BARS} bars")]
    return [Picture("Lead and lag", chart, caption, keys)]


def _training_pictures(content: ReportContent) -> list[Picture]:
    # The stage that val rows evaluate; later stages count their epochs from 1 again.
    history = [row for row in content.history if row.get("stage") == content.history[0].get("stage")]
    best = next((int(row["epoch"]) for row in reversed(history) if row.get("best")), None)
    pictures = []
    for name in ("class", "pointer"):
        columns = {part: f"{part}_{name}_loss" for part in ("train", "val")}
        rows = [row for row in history if all(_is_number(row.get(column)) for column in columns.values())]
        if not rows:
            continue
        losses = {part: [float(row[column]) for row in rows] for part, column in columns.items()}
        chart = svg_charts.loss_chart(name, [int(row["epoch"]) for row in rows], losses, best)
        keys = [Key("loss-train", "train"), Key("loss-val", "val"), Key("reference", "1 = uninformed baseline")]
        pictures.append(Picture(f"{name.capitalize()} loss", chart, "", keys))
    return pictures


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


SIMILAR_TEMPLATE = "similar.html.j2"
# Bars drawn before and after a span: as many as it has, within these.
LEAST_AROUND, MOST_AROUND = 20, 60


def write_similar_page(path: Path, found: Found) -> None:
    """Write the page, atomically: HTML that needs no network, no script and no other file."""
    write_atomic(path, similar_page(found))


def similar_page(found: Found) -> bytes:
    """Build the page, the same bytes each time."""
    spans = found.spans
    cards = []
    for number in range(len(spans)):
        bars, (first, last) = found.tables[spans.table[number]], spans.bar[number].tolist()
        turned = ", upside down" if spans.mirrored[number] else ""
        lines = [f"similarity {spans.similarity[number]:.2f}{turned}", f"{last - first + 1} bars"]
        cards.append(_similar_card(bars, first, last, f"{number + 1}. {bars.symbol[first]}".strip(), lines))
    first, last = found.at
    home = found.tables[0]
    name = f"{home.symbol[first]} {minute_text(int(home.start_us[first]))} UTC".strip()
    lead = (
        f"{len(spans)} spans of {spans.n_bars} bars, none of which shares a bar with another. Similarity is 1 for the "
        "marked span itself; it is not a probability."
    )
    marked = _similar_card(home, first, last, name, [f"{last - first + 1} bars"])
    return render(SIMILAR_TEMPLATE, marked=marked, found=cards, lead=lead, version=__version__)


def _similar_card(bars: Bars, first: int, last: int, name: str, lines: list[str]) -> Card:
    around = min(max(last - first + 1, LEAST_AROUND), MOST_AROUND)
    low, high = max(first - around, 0), min(last + around, len(bars) - 1)
    while bars.symbol[low] != bars.symbol[first]:
        low += 1
    while bars.symbol[high] != bars.symbol[last]:
        high -= 1
    when = f"{minute_text(int(bars.start_us[first]))} to {minute_text(int(bars.start_us[last]))} UTC"
    caption = f"{name}, {when}. {'. '.join(lines)}."
    chart: Markup = span_chart(bars.ohlc[low : high + 1], (first - low, last - low), caption)
    return Card(name, when, chart, lines, None)
