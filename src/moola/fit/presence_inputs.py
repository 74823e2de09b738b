"""What presence learns from: bars, spans and annotated stretches of `train`, without the bars of test windows."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from moola.core.bars import Bars, bar_lengths_us, time_us, utc_text
from moola.core.spans import BACKGROUND, place_spans
from moola.errors import InvalidData, WrongUsage
from moola.fit.inputs import FitInputs, Job
from moola.fit.presence import AHEAD, fit_presence, read_chart_of
from moola.fit.presence_stages import Marked
from moola.models.model_files import ModelFile
from moola.models.presence_part import Presence, lag_of
from moola.options.table_options import SpanReading
from moola.options.training_options import TrainOptions
from moola.tables.bar_table import read_bars
from moola.tables.span_file import Stretches, bars_looked_at, bars_of, read_spans, read_stretches, spans_on_bars
from moola.tables.window_file import WindowTable

log = logging.getLogger(__name__)
# Bars beside annotated ones that shapes of these reach; windows may be longer.
CONTEXT_BARS = 300


def check_presence_options(options: TrainOptions) -> None:
    """Refuse spans without bars, stretches without spans, and an encoder that learns.

    Raises
    ------
    WrongUsage
        Names what is missing.
    """
    if (options.stretches is not None and options.spans is None) or (
        options.spans is not None and options.bars is None
    ):
        raise WrongUsage(
            "--spans must come with --bars, and --stretches with both, but one of them is missing. Name all of them; "
            "only --stretches may be left out."
        )
    if options.live_presence and options.stretches is None:
        raise WrongUsage(
            "--live-presence must come with --spans and --stretches, for its threshold comes from what is false, but "
            "they are not given. Name them, or leave it out."
        )
    if options.spans is not None and not options.freeze_encoder:
        raise WrongUsage(
            "--spans must come with a frozen encoder, but this one learns from the labels: its vectors of bars "
            "that it learned from differ from others. Give --pretrained-encoder and --freeze-encoder."
        )
    if options.spans is not None and options.unlabelled is not None:
        raise WrongUsage(
            "--spans must come without --unlabelled, but both were given: students change the encoder. Leave one out."
        )


def with_presence(job: Job, model: ModelFile) -> ModelFile:
    """Add presence to a model, and what it has seen to its record."""
    options, device = job.options, job.device
    assert options.bars is not None
    assert options.spans is not None
    bars = read_bars(options.bars)
    reading = SpanReading.of_options(options, options.annotator)
    spans = read_spans(options.spans, reading, bars)
    # Bars that name no symbol are those of the spans.
    bars = bars_of(spans, bars)
    spans, _ = spans_on_bars(spans, bars, options.spans, options.drop_outside)
    placed, labels = place_spans(spans, bars), spans.label
    span_rows = np.stack([placed.first, placed.last], axis=1)
    if unknown := sorted(set(labels.tolist()) - set(model.class_names)):
        raise InvalidData(
            f"spans must have the classes of the windows ({', '.join(model.class_names)}), but {options.spans} has "
            f"{', '.join(map(str, unknown[:5]))}. Cut windows around these spans, long enough to hold "
            "them (--window-bars), or leave them out."
        )
    if unmarked := sorted(set(model.class_names) - set(labels.tolist()) - {BACKGROUND}):
        raise InvalidData(
            f"presence must have spans of every class of the windows, but {options.spans} has none of "
            f"{', '.join(unmarked[:5])}. Mark some, or cut windows around these spans alone."
        )
    _tell_other_spans(job.inputs.table, bars, span_rows, options.spans)
    stretches = _stretches(options, bars)
    looked = {name: bars_looked_at(stretches, bars, name) for name in spans.annotators} if stretches else {}
    known = _known_bars(stretches, bars, span_rows)
    n_held_out = _without_test(known, job.inputs, bars)
    if n_held_out:
        log.info("%d of these bars lie in test windows: presence does not learn from them.", n_held_out)
    class_index = np.array([model.class_names.index(name) for name in labels])
    people = [name for name in spans.annotators if name]
    if len(people) > 1 and stretches is not None and (stretches.annotator == "").any():
        log.warning(
            "The spans are of %d annotators (%s): each is taken to have looked at all annotated stretches that name "
            "nobody (a column annotator names one; --annotator takes one).",
            len(people),
            ", ".join(people[:5]),
        )
    charts = _charts(bars, known, span_rows, class_index, spans.annotator, max(CONTEXT_BARS, model.window_bars), looked)
    charts = [replace(one, annotated=options.stretches is not None) for one in charts]
    presence, live = fit_presence(model, charts, device, options.seed), None
    if options.stretches is not None:
        log.info(
            "Presence: in blocks that it did not learn from, average precision %.3f at IoU .5 with class, against %d "
            "spans; a scan reports events of a probability of %.3f or more.",
            presence.record["held_out_ap"], sum(presence.record["n_spans"].values()), presence.threshold,
        )  # fmt: skip
    if options.live_presence:
        log.info("Learning presence from what is known %d bars after a piece ...", lag_of(AHEAD))
        read = [read_chart_of(model, one.bars, device, AHEAD) for one in charts]
        live = fit_presence(model, charts, device, options.seed, read)
    return _recorded(replace(model, live_presence=live), presence, bars, known)


def _tell_other_spans(table: WindowTable, bars: Bars, span_rows: np.ndarray, path: Path) -> None:
    """Warn where most windows hold none of the spans where it stands, as with times of another zone."""
    if table.start_us is None:
        return
    row_of = {key: row for row, key in enumerate(zip(bars.symbol.tolist(), bars.start_us.tolist(), strict=True))}
    spans = set(map(tuple, span_rows.tolist()))
    pointed = np.flatnonzero(table.expansion_start >= 0)
    n_known = 0
    for row in pointed:
        name = table.symbol[row] or (bars.symbols[0] if len(bars.symbols) == 1 else "")
        first = row_of.get((name, int(table.start_us[row])))
        pointers = table.expansion_start[row], table.expansion_end[row]
        n_known += first is not None and tuple(first + int(one) for one in pointers) in spans
    if 2 * n_known < len(pointed):
        log.warning(
            "Only %d of %d windows have a span of %s where their own stands: spans and windows may be of different "
            "marks, or their times of different zones (--timezone says which).",
            n_known,
            len(pointed),
            path,
        )


def _stretches(options: TrainOptions, bars: Bars) -> Stretches | None:
    if options.stretches is None:
        return None
    return read_stretches(options.stretches, SpanReading.of_options(options, options.annotator), bars)


def _known_bars(stretches: Stretches | None, bars: Bars, span_rows: np.ndarray) -> np.ndarray:
    """Tell which bars are learned from: those of annotated stretches, else, of each symbol, from first to last span."""
    if stretches is not None:
        return bars_looked_at(stretches, bars)
    known = np.zeros(len(bars), dtype=bool)
    for name in set(bars.symbol[span_rows[:, 0]].tolist()):
        own = span_rows[bars.symbol[span_rows[:, 0]] == name]
        known[own[:, 0].min() : own[:, 1].max() + 1] = True
    log.warning(
        "No annotated stretches: what is in no span may be a piece that nobody marked, so the %d bars from the first "
        "span to the last are unlabelled, not background. event_prob will rank pieces among marked ones (0.5: as the "
        "middle one of them) and is no probability; precision, false alarms and calibration cannot be known. "
        "--stretches says what a person looked at.",
        int(known.sum()),
    )
    return known


def _without_test(annotated: np.ndarray, inputs: FitInputs, bars: Bars) -> int:
    table, before = inputs.table, int(annotated.sum())
    start_us, close_us = table.start_us, table.close_us
    if start_us is None or close_us is None:
        raise InvalidData(
            "windows must have times where presence is learned, but these have none. Cut them again from bars."
        )
    for row in inputs.split.test:
        inside = (bars.start_us >= start_us[row]) & (bars.start_us < close_us[row])
        annotated[inside] = False
    return before - int(annotated.sum())


def _charts(
    bars: Bars,
    annotated: np.ndarray,
    span_rows: np.ndarray,
    class_index: np.ndarray,
    annotator: np.ndarray,
    context_bars: int,
    looked: dict[str, np.ndarray],
) -> list[Marked]:
    """Cut bars symbol by symbol; spans that leave the bars that their annotator looked at are left out with a word."""
    whole = np.zeros(len(span_rows), dtype=bool)
    for name in set(annotator.tolist()):
        own = annotator == name
        n_seen = np.concatenate([[0], np.cumsum(annotated & looked.get(name, True))])
        first, last = span_rows[own].T
        whole[own] = n_seen[last + 1] - n_seen[first] == last - first + 1
    if not whole.all():
        log.warning(
            "%d of %d spans do not lie in the bars that presence learns from: they are left out.",
            int((~whole).sum()),
            len(whole),
        )
    charts = []
    for name in bars.symbols:
        own = np.flatnonzero(bars.symbol == name)
        first, stop = int(own[0]), int(own[-1]) + 1
        mine = whole & (span_rows[:, 0] >= first) & (span_rows[:, 0] < stop)
        if not annotated[first:stop].any():
            continue
        # Bars beside the annotated ones are read, for windows reach there, and never learned from.
        known = np.flatnonzero(annotated[first:stop])
        cut = slice(first + max(int(known[0]) - context_bars, 0), min(first + int(known[-1]) + 1 + context_bars, stop))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], annotated[cut], [False]]).astype(np.int8)))
        order = np.argsort(span_rows[mine, 0], kind="stable")
        charts.append(
            Marked(
                Bars(bars.start_us[cut], bars.ohlc[cut], bars.symbol[cut]),
                span_rows[mine][order] - cut.start,
                class_index[mine][order],
                edges.reshape(-1, 2),
                annotator=annotator[mine][order] if all(annotator[mine]) else None,
                looked={name: seen[cut] for name, seen in looked.items()},
            )
        )
    return charts


def _recorded(model: ModelFile, presence: Presence, bars: Bars, annotated: np.ndarray) -> ModelFile:
    """Widen the times that the model learned from, to when the last annotated bar is over."""
    closes_us = bars.start_us + bar_lengths_us(bars)
    first, last = int(bars.start_us[annotated].min()), int(closes_us[annotated].max())
    span = model.training.get("time_range")
    if span is not None:
        first, last = min(first, time_us(span[0])), max(last, time_us(span[1]))
    training = model.training | {"time_range": [utc_text(first), utc_text(last)]}
    return replace(model, presence=presence, training=training)
