"""Commands that make and check tables: bars, windows, splits, the sample, previews of synthetic windows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.cli.label_commands import show_placed
from moola.options.option_fields import Bars
from moola.options.option_sources import command_line, window_bars_words
from moola.options.table_options import (
    AutolabelOptions,
    ConvertOptions,
    CpsaPreviewOptions,
    ImportOptions,
    SampleOptions,
    SplitOptions,
    WindowsOptions,
)

LEFT_OUT = {
    "n_too_long": "spans are longer than a window and are left out (--window-bars)",
    "n_dropped_gap": "spans fit no window without a long gap, or lie too near to an end of the bars, and are left out",
    "n_contradicting": "spans would have exactly the place of another label and are left out",
    "n_outside_zone": "spans reach outside the inner zone",
    "n_holding_others": "windows hold another span whole, and have the class of the one that they were cut for",
}


def sample(*, options: Annotated[SampleOptions, Flat] = SampleOptions(), console: Console = ConsoleOptions()) -> int:
    """Write the sample: EURUSD bars, labelled and later windows, a split.

    Example: moola sample --output data
    """
    from moola.stages.sample import sample as make_sample

    result = make_sample(options)
    screen = Screen(console)
    _show_bars(screen, result["bars"])
    labelled = result["labelled"]
    kept = ", ".join(f"{count} {name}" for name, count in labelled["kept"].items())
    screen.write(f"{sum(labelled['kept'].values())} labelled windows ({kept}) in {labelled['output']}")
    screen.write(f"  Labels come from {labelled['labelled_by']}: a published rule labelled them, not a person.")
    screen.write(f"{result['unlabelled']['n_windows']} unlabelled windows in {result['unlabelled']['output']}")
    if (later := result["later"]) is not None:
        n_later = sum(later["kept"].values())
        screen.write(f"{n_later} later windows, of 2015 to 2018, in {later['output']}: for eval and gate --data alone")
        screen.write(f"The latest year to scan in {result['latest_bars']}")
    _show_split(screen, result["split"])
    relative, where = result["relative"], result["split"]["output"]
    screen.next_command("moola", "train", "--data", Path(relative), "--split", Path(where))
    screen.result(result)
    return 0


def check_bars(file: Bars, /, *, console: Console = ConsoleOptions()) -> int:
    """Check a bar table against every rule, and describe it.

    Example: moola bars check data/raw/eurusd_1h_2017.parquet
    """
    from moola.stages import make_tables

    result = make_tables.check_bars(file)
    screen = Screen(console)
    _show_bars(screen, result)
    screen.write("Every rule holds.")
    _next_of_bars(screen, file)
    screen.result(result)
    return 0


def import_bars(*, options: Annotated[ImportOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Import bars with any column names and time zone.

    Example: moola bars import --input eurusd.csv --output data/raw/eurusd.parquet --columns timestamp=Date
    --timezone Europe/Berlin
    """
    from moola.stages import make_tables

    result = make_tables.import_bars(options)
    screen = Screen(console)
    _show_bars(screen, result)
    _next_of_bars(screen, options.output)
    screen.result(result)
    return 0


def windows(*, options: Annotated[WindowsOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Cut windows from bars: unlabelled, or around the spans of a file.

    A window holds its span whole, at a place drawn at random, so that the place reveals nothing.

    Example: moola windows --bars data/raw/eurusd_1h_2017.parquet --output data/processed/unlabeled/windows.parquet
    """
    from moola.stages import make_tables

    result = make_tables.cut(options)
    screen = Screen(console)
    if options.spans is not None:
        return _show_span_windows(screen, result, options)
    screen.write(f"{result['n_windows']} windows in {result['output']} ({result['n_dropped_gap']} dropped for gaps)")
    encoder, length = "artifacts/encoders/pretrained/encoder.pt", window_bars_words(options.window_bars)
    screen.next_command("moola", "pretrain-bilstm", "--input", options.output, "--output", encoder, *length)
    screen.result(result)
    return 0


def _show_span_windows(screen: Screen, result: dict[str, Any], options: WindowsOptions) -> int:
    classes = ", ".join(f"{count} {name}" for name, count in result["classes"].items())
    screen.write(f"{result['n_windows']} windows of {result['window_bars']} bars ({classes}) in {result['output']}")
    show_placed(screen, result)
    for name, words in LEFT_OUT.items():
        if count := result[name]:
            screen.write(f"  {count} {words}")
    length = window_bars_words(result["window_bars"])
    screen.next_command("moola", "convert", "--input", options.output, "--output", "<relative.parquet>", *length)
    screen.result(result)
    return 0


def convert(*, options: Annotated[ConvertOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Add the eleven relative features to 4-D windows.

    Example: moola convert --input data/processed/labeled/train_latest.parquet
    --output data/processed/labeled/train_latest_relative.parquet
    """
    from moola.stages import make_tables

    result = make_tables.convert(options)
    screen = Screen(console)
    screen.write(f"{result['n_windows']} relative windows in {result['output']}")
    length = window_bars_words(options.window_bars)
    screen.next_command(
        "moola", "split", "--data", options.output, "--output", "data/splits/fwd_chain_v3.json", *length
    )
    screen.result(result)
    return 0


def autolabel(*, options: Annotated[AutolabelOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Label windows by a rule, to try moola without labels.

    The expansion is the strongest straight move of 5 to 24 bars in the inner zone; the class is what the 20 bars
    before it did: move against it (retracement) or sideways (consolidation). Others get no label.

    Example: moola autolabel --bars data/raw/eurusd_1h_2017.parquet --output data/processed/labeled/by_rule.parquet
    """
    from moola.stages import make_tables

    result = make_tables.autolabel(options)
    screen = Screen(console)
    screen.table(["the rule gives", "windows"], [[name, str(count)] for name, count in result["candidates"].items()])
    kept = ", ".join(f"{count} {name}" for name, count in result["kept"].items())
    screen.write(f"Kept {kept} in {result['output']}, labelled by {result['labelled_by']} and not by a person.")
    length = window_bars_words(options.window_bars)
    screen.next_command("moola", "convert", "--input", options.output, "--output", "<relative.parquet>", *length)
    screen.result(result)
    return 0


def split(*, options: Annotated[SplitOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Split windows forward in time, and drop those that would leak.

    Example: moola split --data data/processed/labeled/train_latest_relative.parquet
    --output data/splits/fwd_chain_v3.json
    """
    from moola.stages import make_tables

    result = make_tables.split(options)
    screen = Screen(console)
    _show_split(screen, result)
    length = window_bars_words(options.window_bars)
    screen.next_command("moola", "train", "--data", options.data, "--split", options.output, *length)
    screen.result(result)
    return 0


def _next_of_bars(screen: Screen, bars: Path) -> None:
    by_rule = "data/processed/labeled/by_rule.parquet"
    line = command_line("moola", "autolabel", "--bars", bars, "--output", by_rule)
    screen.write(f"To try without labels of your own: {line}")
    screen.next_command("moola", "label", "--bars", bars)


def _show_bars(screen: Screen, result: dict[str, Any]) -> None:
    screen.write(f"{result['n_bars']} bars in {result['file']}")
    rows = [
        [
            row["symbol"] or "(one symbol)",
            str(row["n_bars"]),
            row["first_ts"],
            row["last_ts"],
            f"{row['bar_interval_s']:g}",
            str(row["n_gaps"]),
            f"{row['longest_gap_h']:.1f}",
        ]
        for row in result["symbols"]
    ]
    screen.table(["symbol", "bars", "first", "last", "seconds a bar", "gaps", "longest gap (h)"], rows)


def _show_split(screen: Screen, result: dict[str, Any]) -> None:
    screen.write(f"Split {result['output']}:")
    rows = []
    for part in result["parts"]:
        classes = ", ".join(f"{count} {name}" for name, count in part["classes"].items())
        rows.append([part["part"], str(part["n_windows"]), classes, part["first_ts"] or "-", part["last_ts"] or "-"])
    screen.table(["part", "windows", "classes", "first bar", "last bar"], rows)
    for row in result["purged"]:
        screen.write(f"  purged {row['window_id']}: {row['reason']}")
    state = {
        True: "proved: every window ends before the first bar of the next part",
        None: "not proved: the windows have no times, so overlap cannot be checked",
    }[result["leak_proof"]]
    screen.write(f"  {len(result['purged'])} purged; {state}.")


# The command that shows synthetic windows.


def preview(*, options: Annotated[CpsaPreviewOptions, Flat], console: Console = ConsoleOptions()) -> int:
    """Draw synthetic windows beside their parents, and count the rejected ones.

    Example: moola cpsa preview --data data/processed/labeled/train_latest_relative.parquet
    --split data/splits/fwd_chain_v3.json --augmentations mirror warp --output artifacts/plots/cpsa.png
    """
    from moola.fit import synthetic
    from moola.reports.png_charts import made_windows_plot

    result, pairs = synthetic.preview(options)

    made_windows_plot(
        options.output,
        pairs,
        "Training windows (left) and what was made of them (right). Violet: expansion; dashed: where the parent's was; "
        "grey: outside the inner zone",
    )
    screen = Screen(console)
    screen.write(
        f"{result['n_made']} synthetic windows made of {result['n_parents']} of {result['n_train']} training rows, "
        f"{result['n_rejected']} rejected."
    )
    screen.table(["made with", "windows"], [[name, str(count)] for name, count in result["made"].items()])
    screen.table(["rejected", "windows"], [[reason, str(count)] for reason, count in result["rejected"].items()])
    screen.write(f"{len(pairs)} of them beside their parents in {options.output}")
    words = ["moola", "train", "--data", options.data, "--split", options.split, "--augment-data", "true"]
    words += ["--augmentations", *options.augmentations]
    words += ["--bars", options.bars] if options.bars is not None else []
    screen.next_command(*words, *window_bars_words(options.window_bars))
    screen.result(result)
    return 0
