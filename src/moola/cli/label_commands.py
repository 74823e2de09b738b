"""Commands of labels: the labelling page, and labels into and out of the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.event_judging import show_agreement
from moola.options.label_options import LabelOptions, LabelsExportOptions, LabelsImportOptions, LabelsStatsOptions
from moola.options.option_fields import OUTPUT, LabelStoreFile, basic
from moola.options.option_sources import window_bars_words

MAX_SHOWN = 20
SPAN_WORDS = {
    "n_in_gaps": "begin or end where the bars rest (check --timezone)",
    "n_repeated": "repeat another and are left out",
    "n_over_gaps": "lie over a gap of the bars",
    "n_overlapping": "share bars with a span of another annotator",
    "n_disagreeing": "of these share bars with a span of another class",
}
UNUSUAL = {
    "outside_inner_zone": "reach outside the inner zone",
    "one_bar": "have one bar",
    "overlapping": "share bars with another of their window",
}


def export_labels(*, options: Annotated[LabelsExportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Write labelled windows from a label store and its bars, or its spans as a table or for Label Studio.

    Windows that cannot be written are left out and listed with the reason.

    Example: moola labels export --store data/labels.db --bars data/raw/eurusd_1h_2017.parquet
    --output data/processed/labeled/train_latest.parquet
    """
    from moola.labels.label_export import export

    result = export(options)
    screen = Screen(console)
    if options.as_ != "windows":
        return _show_spans(screen, result, options)
    classes = ", ".join(f"{count} {name}" for name, count in result["classes"].items())
    screen.write(f"{result['n_windows']} windows in {result['n_rows']} rows ({classes}) in {result['output']}")
    _show_reasons(screen, "left out", result["left_out"])
    _show_reasons(screen, "in conflict", result["conflicts"])
    _show_reasons(screen, "labelled differently by annotators", result["disagreements"])
    for kind, words in UNUSUAL.items():
        if count := result["mark_warnings"][kind]:
            screen.write(f"{count} of the expansions {words}")
    length = window_bars_words(options.window_bars)
    screen.next_command("moola", "convert", "--input", options.output, "--output", "<relative.parquet>", *length)
    screen.result(result)
    return 0


def import_labels(*, options: Annotated[LabelsImportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Bring spans, labels of a window file or labels of Label Studio into a label store.

    A table of spans has start, end and label (and symbol, annotator, note). Label Studio's exports of long series are
    read as they come; a task that is one window has data.window_id, data.start_ts (and data.end_ts and data.symbol,
    where known) and one annotation of timeserieslabels; a choice A to D is the grade. An instant within a bar means
    that bar. A file with problems is refused with all of them, and nothing is written.

    Example: moola labels import --store data/labels.db --bars data/raw/eurusd_1h_2017.parquet
    --input data/processed/labeled/train_latest.parquet --annotator ana
    """
    from moola.labels import label_import

    result = label_import.import_labels(options)
    screen = Screen(console)
    if "kept_spans" in result:
        return _show_met(screen, result, options)
    screen.write(
        f"{result['added']} added, {result['overwritten']} overwritten, {result['unchanged']} unchanged, "
        f"{result['kept']} kept as they were in {result['store']}"
    )
    for name, count in result["passed_over"].items():
        screen.write(f"  {count} {name} passed over")
    for entry in result["kept_windows"][:MAX_SHOWN]:
        screen.write(f"  kept {entry['window_id']} of {entry['annotator']}: the file differs (--overwrite takes it)")
    if result["kept"] > MAX_SHOWN:
        screen.write(f"  and {result['kept'] - MAX_SHOWN} more")
    length = window_bars_words(options.window_bars)
    screen.next_command("moola", "labels", "stats", "--store", options.store, *length)
    screen.result(result)
    return 0


def _show_met(screen: Screen, result: dict[str, Any], options: LabelsImportOptions) -> int:
    """Say how spans met the bars, and what became of them in the store."""
    classes = ", ".join(f"{count} {name}" for name, count in result["classes"].items())
    people = ", ".join(result["annotators"])
    screen.write(f"{result['n_spans']} spans ({classes}) by {people}; times without a zone are {result['timezone']}")
    show_placed(screen, result)
    screen.write(
        f"{result['added']} added, {result['overwritten']} overwritten, {result['unchanged']} unchanged, "
        f"{result['kept']} kept as they were in {result['store']}"
    )
    if result["kept"]:
        screen.write("  kept: the store has other spans of that annotator on these bars (--overwrite takes the file's)")
    if result["n_stretches"]:
        screen.write(f"  annotated stretches: {result['n_stretches']}; what is in no span there is background")
    else:
        screen.write("  no annotated stretch: bars in no span stay unlabelled (see --annotated FROM TO)")
    words = ("moola", "labels", "export", "--store", options.store, "--as", "spans")
    screen.next_command(*words, "--output", "<spans.csv>")
    screen.result(result)
    return 0


def show_placed(screen: Screen, result: dict[str, Any]) -> None:
    """Say how many spans met bars exactly, were moved and by how much, and met none."""
    moved = f"{result['n_moved']} moved"
    if result["n_moved"]:
        moved += f" (usually by {_elapsed(result['usual_move_s'])}, at most by {_elapsed(result['longest_move_s'])})"
    screen.write(f"  {result['n_exact']} met bars exactly, {moved}, {result['n_none']} met none and are left out")
    for name, words in SPAN_WORDS.items():
        if count := result[name]:
            screen.write(f"  {count} {words}")


def _elapsed(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _show_spans(screen: Screen, result: dict[str, Any], options: LabelsExportOptions) -> int:
    classes = ", ".join(f"{count} {name}" for name, count in result["classes"].items())
    screen.write(f"{result['n_spans']} spans ({classes}) by {', '.join(result['annotators'])} in {result['output']}")
    if result["stretches"]:
        screen.write(f"annotated stretches: {result['n_stretches']} in {result['stretches']}")
    elif result["n_stretches"]:
        screen.write(f"annotated stretches: {result['n_stretches']}, not in that file (--stretches FILE writes them)")
    if options.as_ == "spans":
        words = ("moola", "windows", "--bars", options.bars or "<bars>", "--spans", options.output)
        more = ("--stretches", options.stretches) if options.stretches else ()
        screen.next_command(*words, *more, "--output", "<windows.parquet>")
    screen.result(result)
    return 0


def label_stats(*, options: Annotated[LabelsStatsOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Describe a label store: balance, grades, sessions, hours, agreement and conflicts.

    Example: moola labels stats --store data/labels.db
    """
    from moola.labels.label_stats import stats

    result = stats(options)
    screen = Screen(console)
    screen.write(f"{result['n_labels']} labels of {result['n_windows']} windows in {result['store']}")
    for chart in result["charts"]:
        classes = ", ".join(f"{count} {name}" for name, count in chart["classes"].items())
        of = f" on {chart['symbol']}" if chart["symbol"] else ""
        stretches = f"annotated stretches: {chart['n_stretches']}"
        screen.write(f"{chart['n_spans']} spans of {chart['annotator']}{of} ({classes}), {stretches}")
    _show_counts(screen, result)
    _show_agreement(screen, result)
    show_agreement(screen, result["span_agreement"], {})
    _show_reasons(screen, "in conflict", result["conflicts"])
    words = ("moola", "labels", "export", "--store", options.store)
    if result["charts"] and not result["n_labels"]:
        more = ("--stretches", "<stretches.csv>") if any(chart["n_stretches"] for chart in result["charts"]) else ()
        screen.next_command(*words, "--as", "spans", "--output", "<spans.csv>", *more)
    else:
        bars, length = options.bars or "<bars>", window_bars_words(options.window_bars)
        screen.next_command(*words, "--bars", bars, "--output", "<windows.parquet>", *length)
    screen.result(result)
    return 0


def check_store(store: LabelStoreFile, *, console: Console = ConsoleOptions()) -> int:
    """Check that a label store is complete: its tables, the hash of every revision, the current labels.

    Exit code 5 when it is not. A store of an older version is first updated to this one.

    Example: moola labels check artifacts/labels/labels.db
    """
    from moola.labels.label_stats import check

    result = check(store)
    screen = Screen(console)
    screen.write(
        f"{result['store']} is intact: {result['n_revisions']} revisions of {result['n_labels']} labels are as they "
        f"were saved; the bars of {result['n_with_bars']} are known"
    )
    screen.result(result)
    return 0


def back_up_store(
    store: LabelStoreFile,
    to: Annotated[Path, basic("File to write, which must not exist.", OUTPUT)],
    *,
    console: Console = ConsoleOptions(),
) -> int:
    """Copy a label store to a new file, also while a labelling page uses it; the copy is checked.

    Example: moola labels backup artifacts/labels/labels.db labels_monday.db
    """
    from moola.labels.label_stats import back_up

    result = back_up(store, to)
    screen = Screen(console)
    screen.write(f"{result['n_revisions']} revisions of {result['n_labels']} labels in {result['to']}, checked")
    screen.result(result)
    return 0


def _show_counts(screen: Screen, result: dict[str, Any]) -> None:
    people = [("everybody", result), *((one["annotator"], one) for one in result["annotators"])]
    for title, key in (("windows", "status"), ("grade", "grades"), ("expansions", "classes"), ("session", "sessions")):
        if result[key]:
            rows = [[name, *(str(one[key].get(name, 0)) for name in result[key])] for name, one in people]
            screen.table([title, *result[key]], rows)
    screen.write(f"  {result['without_expansion']} labelled without an expansion")
    hours = ", ".join(f"{int(hour):02d}: {count}" for hour, count in result["hours"].items() if count)
    screen.write(f"  expansions by hour of their first bar (UTC): {hours or 'none'}")


def _show_agreement(screen: Screen, result: dict[str, Any]) -> None:
    rows = [
        [
            f"{pair['first']}, {pair['second']}",
            str(pair["n_windows"]),
            _figure(pair["kappa"]),
            _figure(pair["same_class"]),
            *(_figure(pair[what][name]) for what in ("start", "end") for name in ("median_abs_bars", "within_3")),
        ]
        for pair in result["agreement"]
    ]
    header = ["agreement", "windows", "kappa", "same class", "start apart", "within 3", "end apart", "within 3"]
    screen.table(header, rows)
    if rows and result["pointers_from"] == "times":
        screen.write("  Bars apart are elapsed times over the usual time of a bar; --bars counts them exactly.")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _show_reasons(screen: Screen, what: str, entries: list[dict[str, str]]) -> None:
    if entries:
        screen.write(f"{len(entries)} {what}:")
    for entry in entries[:MAX_SHOWN]:
        screen.write(f"  {entry['window_id']}: {entry['reason']}")
    if len(entries) > MAX_SHOWN:
        screen.write(f"  and {len(entries) - MAX_SHOWN} more (--json lists all)")


# Command that opens the labelling page: label.


def label(*, options: Annotated[LabelOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Label in the browser; the label store keeps every save.

    Serves a page on 127.0.0.1 until Ctrl-C. Needs the extra: pip install "moola[label]".

    Example: moola label --bars data/raw/eurusd_1h_2017.parquet --annotator anna
    """
    from moola.label.page_state import open_page_state, require_label_extra

    require_label_extra()
    from moola.label.page_server import bind, described, serve

    screen = Screen(console)
    place = bind(options.port)
    try:
        page_state = open_page_state(options)
        with page_state.store:
            found = described(page_state, place.getsockname()[1])
            done = page_state.progress(page_state.annotator)
            screen.write(
                f"{found['n_windows']} windows, {done['left']} left for {page_state.annotator}; "
                f"labels in {found['store']}"
            )
            screen.write(f"Open {found['url']} (Ctrl-C stops; ? on the page shows the keys)")
            screen.write(f"Open {found['url']}chart.html for the chart of all bars, where any piece can be marked")
            screen.result(found)
            sys.stdout.flush()
            try:
                serve(page_state, place)
            except KeyboardInterrupt:
                screen.write()
            done = page_state.progress(page_state.annotator)
            screen.write(
                f"{done['labelled']} labelled, {done['rejected']} rejected, {done['skipped']} skipped; all saved."
            )
            words = ("moola", "labels", "export", "--store", options.store, "--bars", options.bars)
            screen.next_command(
                *words, "--output", "labelled.parquet", *window_bars_words(page_state.window_list.window_bars)
            )
    finally:
        place.close()
    return 0
