"""Commands that find events and similar spans in bars: scan, similar."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from moola.cli.console import BarProgress, Console, ConsoleOptions, Flat, Screen, WindowProgress
from moola.errors import Interrupted
from moola.options.scan_options import ScanOptions, SimilarOptions

if TYPE_CHECKING:
    from moola.scan.scanning import Scan


def scan(*, options: Annotated[ScanOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Find events in bars: predictions of overlapping windows, merged.

    With --live each event is reported from the bars up to that moment alone; with --follow the bars may still come.

    Example: moola scan --model artifacts/models/supervised/enhanced_baseline_v2_relative.pt
    --bars data/raw/eurusd_1h_2017.parquet --output events.parquet --plot artifacts/plots/events
    """
    screen = Screen(console)
    return _scan(options, screen) if options.follow is None else _follow(options, screen)


def _scan(options: ScanOptions, screen: Screen) -> int:
    from moola.scan.parts import checkpoint_of
    from moola.scan.scanning import Scan

    work = Scan(options)
    with work.alone():
        try:
            with WindowProgress() as progress:
                result = work.run(progress)
        except KeyboardInterrupt as stop:
            raise Interrupted(
                f"Interrupted; finished parts are in {checkpoint_of(options.output)}.", go_on=("--resume",)
            ) from stop
        _show(screen, result)
        _draw(options, screen, work, result)
        work.parts.clear()
    screen.result(result)
    return 0


def _draw(options: ScanOptions, screen: Screen, work: Scan, result: dict[str, Any]) -> None:
    if options.plot is not None:
        from moola.reports.png_charts import event_plot
        from moola.scan.scanning import pictures

        result["pictures"] = [str(event_plot(options.plot, one)) for one in pictures(work, options.plot_limit)]
        screen.write(f"{len(result['pictures'])} pictures of {result['n_events']} events in {options.plot}")
    if options.overview is not None:
        from moola.reports.overview.events_page import write_overview
        from moola.scan.scanning import overview

        about = _about(options, work, result)
        size = write_overview(options.overview, overview(work, options.overview_bars, about))
        result["overview"] = str(options.overview)
        screen.write(f"Overview in {options.overview} ({size / 1e6:.1f} MB); any browser opens it, without a network.")


def _about(options: ScanOptions, work: Scan, result: dict[str, Any]) -> list[str]:
    """Return what the reader of a page must know of the model: its run, its labels, and whether it can be trusted."""
    from moola.provenance.learned_times import seen_sentence
    from moola.stages.evaluate import origin_of_model

    origin = origin_of_model(options.model, work.reader.model.training)
    result |= {"run_id": origin.run_id, "trust": origin.trust}
    run = f"run {origin.run_id}" if origin.run_id else "its run is not here"
    labelled = f"labels by {', '.join(origin.labelled_by)}" if origin.labelled_by else "who labelled is not recorded"
    seen = seen_sentence(result["n_learned"], f"{result['n_events']} events", result["learned_time_range"])
    return [f"Model {origin.model}: {run}; {labelled}.", origin.trust, *([seen] if seen else [])]


def _follow(options: ScanOptions, screen: Screen) -> int:
    from moola.scan.event_program import dead_letters_of
    from moola.scan.following import Follower

    follower = Follower(options)
    following = f"Following {options.follow}; events are appended to {options.output}. Ctrl-C ends it."
    try:
        result = follower.run(
            lambda events: _show_events(screen, events.to_dicts(), follower.reader.event_prob),
            lambda: screen.write(following),
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Interrupted after {follower.state.n_events} events; everything reported is in {options.output}.", go_on=()
        ) from stop
    screen.write(f"{result['n_events']} events of {result['n_bars']} bars so far in {options.output}")
    if result["n_bad_lines"] or result["n_skipped"] or result["n_gaps"]:
        screen.write(
            f"{result['n_bad_lines']} invalid lines and {result['n_skipped']} bars that are not later than "
            f"those before were skipped ({result['n_differing']} differ from what was read, "
            f"{result['n_out_of_order']} are out of order); {result['n_gaps']} gaps."
        )
    if result["n_dropped_gap"]:
        screen.write(f"{result['n_dropped_gap']} windows were dropped for gaps (--max-gap-hours).")
    if result["n_handed_on"] is not None:
        screen.write(f"{result['n_handed_on']} events handed to the program of --on-event.")
    if result["n_dead"]:
        screen.write(f"{result['n_dead']} it did not take are in {dead_letters_of(options.output)}.")
    screen.result(result)
    return 0


def _show_events(screen: Screen, events: list[dict[str, Any]], event_prob: str) -> None:
    for event in events:
        name = f"{event['symbol']} " if event["symbol"] else ""
        label = event["predicted_label"]
        screen.write(
            f"{name}{event['start_ts']:%Y-%m-%d %H:%M} to {event['end_ts']:%Y-%m-%d %H:%M} UTC: {label} "
            f"{event[f'prob_{label}']:.2f}, {event_prob} {event['event_prob']:.2f}, known "
            f"{event['n_bars_after']} bars after its end"
        )
    sys.stdout.flush()


def _show(screen: Screen, result: dict[str, Any]) -> None:
    from moola.models.presence_part import RANK
    from moola.provenance.learned_times import seen_sentence

    longest = sorted(set(result["max_gap_hours"]))
    limit = f" (above {longest[0]:g}{f' to {longest[-1]:g}' if len(longest) > 1 else ''} h)"
    screen.write(
        f"{result['n_windows']} windows read over {result['n_bars']} bars of {result['n_symbols']} symbol"
        f"{'' if result['n_symbols'] == 1 else 's'}, {result['n_windows_over_gap']} of them over a gap within "
        f"--max-gap-hours; {result['n_dropped_gap']} more dropped for a longer one"
        f"{limit if result['n_dropped_gap'] else ''}."
    )
    if result["n_bars_unseen"]:
        names = [repr(name) for name in result["symbols_unseen"]]
        of = f" (none of {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} was seen)" if names else ""
        screen.write(f"{result['n_bars_unseen']} bars are in no window{of}.")
    if result["labelled_by"]:
        screen.write(f"The model learned labels by {', '.join(result['labelled_by'])}.")
    by_class = ", ".join(f"{count} {name}" for name, count in result["predicted"].items())
    cut = f", {result['n_cut']} of them cut" if result["n_cut"] else ""
    screen.write(
        f"{result['n_events']} events{f' ({by_class}{cut})' if by_class else ''} of probability {result['min_prob']:g} "
        f"or more in {result['output']}"
    )
    if seen := seen_sentence(result["n_learned"], f"{result['n_events']} events", result["learned_time_range"]):
        screen.write(seen)
    if result["event_prob"] == RANK:
        screen.write(
            "event_prob ranks events among the pieces that were marked, and is no probability: the model learned from "
            "spans without annotated stretches."
        )
    if not result["n_events"]:
        if result["n_dropped_gap"] > result["n_windows"]:
            screen.write("Most windows were dropped for gaps: a larger --max-gap-hours keeps them.")
        screen.write("Lower --min-prob to see less probable ones.")


def similar(*, options: Annotated[SimilarOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Find the spans of bars that are most similar to one marked span.

    They are of any length from a half to twice its own.

    The first search of a bar table reads it with the encoder, which takes minutes for a million bars; others do not.

    Example: moola similar --bars data/raw/eurusd_1h_2017.parquet --at 2017-03-01T10:00 2017-03-01T18:00
    """
    from moola.reports.report_page import write_similar_page
    from moola.stages.find_similar import find_similar

    screen = Screen(console)
    with BarProgress() as progress:
        found = find_similar(options, progress)
    page = options.page or options.output.with_suffix(".html")
    write_similar_page(page, found)
    result = found.result | {"page": str(page)}
    _show_similar(screen, result)
    words = (
        "moola",
        "labels",
        "import",
        "--store",
        "<labels.db>",
        "--input",
        options.output,
        "--bars",
        options.bars[0],
    )
    # Spans of further tables are not on the bars of the first.
    others = ["--drop-outside"] if len(options.bars) > 1 else []
    screen.next_command(*words, "--annotator", "<you>", *others)
    screen.result(result)
    return 0


def _show_similar(screen: Screen, result: dict[str, Any]) -> None:
    seen = f"{result['n_bars']} bars searched in {result['search_s']:.1f} s (read in {result['encode_s']:.1f} s)"
    unseen = f"; {result['n_bars_unseen']} are in too short a run to be read" if result["n_bars_unseen"] else ""
    screen.write(
        f"Marked: {result['n_bars_marked']} bars from {_minute(result['at'][0])} to {_minute(result['at'][1])} UTC. "
        f"{seen}{unseen}."
    )
    rows = [
        [
            f"{row['symbol']} {_minute(row['start'])}".strip(),
            _minute(row["end"]),
            str(row["n_bars"]),
            f"{row['similarity']:.2f}",
            "upside down" if row["mirrored"] else "",
        ]
        for row in result["spans"]
    ]
    screen.table(["start (UTC)", "end", "bars", "similarity", ""], rows)
    screen.write(f"{len(rows)} spans in {result['output']}; look at them in {result['page']}")


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
