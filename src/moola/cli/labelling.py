"""Command that opens the labelling page: label."""

from __future__ import annotations

import sys
from typing import Annotated

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.config.command_lines import window_bars_words
from moola.config.label_options import LabelOptions


def label(*, options: Annotated[LabelOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Label windows in the browser; every save is kept in the label store.

    Serves a page on 127.0.0.1 until Ctrl-C. Needs the extra: pip install "moola[label]".

    Example: moola label --bars data/raw/eurusd_1h_2017.parquet --annotator anna
    """
    from moola.label.opening import open_desk, require_label_extra

    require_label_extra()
    from moola.label.server import bind, described, serve

    screen = Screen(console)
    place = bind(options.port)
    try:
        desk = open_desk(options)
        with desk.store:
            found = described(desk, place.getsockname()[1])
            done = desk.progress(desk.annotator)
            screen.say(
                f"{found['n_windows']} windows, {done['left']} left for {desk.annotator}; labels in {found['store']}"
            )
            screen.say(f"Open {found['url']} (Ctrl-C stops; ? on the page shows the keys)")
            screen.result(found)
            sys.stdout.flush()
            try:
                serve(desk, place)
            except KeyboardInterrupt:
                screen.say()
            done = desk.progress(desk.annotator)
            screen.say(
                f"{done['labelled']} labelled, {done['rejected']} rejected, {done['skipped']} skipped; all saved."
            )
            words = ("moola", "labels", "export", "--store", options.store, "--bars", options.bars)
            screen.next_command(*words, "--output", "labelled.parquet", *window_bars_words(desk.shelf.window_bars))
    finally:
        place.close()
    return 0
