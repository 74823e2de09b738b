"""Commands of runs, of the folder that one works in, and of the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from moola.cli.console import Console, ConsoleOptions, Flat, Screen
from moola.errors import MoolaError
from moola.options.judging_options import PruneOptions
from moola.options.option_fields import DATA, OUTPUT, basic


def new(folder: Annotated[Path, basic("Folder to make.", OUTPUT)], /, *, console: Console = ConsoleOptions()) -> int:
    """Make a folder to work in, with a commented moola.toml.

    Example: moola new mine
    """
    from moola.stages.new_folder import new_folder

    result = new_folder(folder)
    screen = Screen(console)
    screen.write(f"Settings, all of them comments, in {result['settings']}")
    bars, store, data = Path("data/raw/bars.parquet"), Path("data/labels.db"), Path("data/processed/labeled")
    screen.next_command("cd", folder)
    screen.next_command("moola", "bars", "import", "--input", "<bars>", "--output", bars)
    screen.next_command("moola", "label", "--bars", bars, "--store", store, "--annotator", "<you>")
    words = ("moola", "labels", "export", "--store", store, "--bars", bars)
    screen.next_command(*words, "--output", data / "windows.parquet")
    screen.result(result)
    return 0


def list_runs(*, console: Console = ConsoleOptions()) -> int:
    """List runs, oldest first.

    Example: moola runs list
    """
    from moola.options.option_fields import RUNS_ROOT
    from moola.runs import run_store

    found = run_store.list_runs(RUNS_ROOT)
    screen = Screen(console)
    rows = [_row(run) for run in found]
    if not rows:
        screen.write(f"No runs under {RUNS_ROOT}.")
        screen.next_command("moola", "train", "--data", "<windows>", "--split", "<split>")
    names = ["run", "state", "encoder", "train/val/test", "val PR-AUC", "val Brier"]
    screen.table(names, [[str(row[name]) for name in names] for row in rows])
    screen.result({"runs": rows})
    return 0


def _row(run: Any) -> dict[str, Any]:
    from moola.runs.run_store import MANIFEST

    if run.manifest is None:
        return _without_figures(run, "damaged" if run.path(MANIFEST).exists() else "incomplete")
    try:
        return _complete(run)
    except (AttributeError, KeyError, TypeError, MoolaError):
        # One damaged manifest must not hide the other runs.
        return _without_figures(run, "damaged")


def _without_figures(run: Any, state: str) -> dict[str, Any]:
    columns = ("encoder", "train/val/test", "val PR-AUC", "val Brier")
    return dict.fromkeys(columns, "-") | {"run": run.run_id, "state": state}


def _complete(run: Any) -> dict[str, Any]:
    from moola.runs import run_store

    figures = run.read(run_store.METRICS)["figures"]
    shown = {name: figures[name]["value"] for name in ("pr_auc", "brier")}
    start = "pretrained" if run.manifest["pretrained"] else "from scratch"
    stage = "frozen" if run.manifest["encoder"]["frozen"] else "trained"
    return {
        "run": run.run_id,
        "state": "complete",
        "encoder": f"{start}, {stage}",
        "train/val/test": "/".join(str(run.manifest["n_windows"][part]) for part in ("train", "val", "test")),
        "val PR-AUC": "-" if shown["pr_auc"] is None else round(shown["pr_auc"], 3),
        "val Brier": "-" if shown["brier"] is None else round(shown["brier"], 3),
    }


def show_run(
    run: Annotated[str, basic("Run: its id or the beginning of it, `latest`, or its folder.", DATA)],
    /,
    *,
    console: Console = ConsoleOptions(),
) -> int:
    """Show a run's options and manifest; its files are checked against their hashes.

    Example: moola runs show <RUN_ID>
    """
    from moola.options.option_fields import RUNS_ROOT
    from moola.runs import run_store

    found = run_store.find_run(RUNS_ROOT, run)
    content = {"manifest": found.manifest, "config": found.read(run_store.CONFIG)}
    screen = Screen(console)
    for title, section in content.items():
        screen.write(f"{title}:")
        for name, value in (section or {}).items():
            screen.write(f"  {name}: {value}")
    screen.next_command("moola", "eval", "--run", found.folder)
    screen.result(content)
    return 0


def prune_runs(*, options: Annotated[PruneOptions, Flat] = PruneOptions(), console: Console = ConsoleOptions()) -> int:
    """List old runs that nothing needs, or remove them with --apply.

    The newest runs stay, those of the promotion log, and the newest run from scratch of each data and split, which
    the gate takes as its baseline. A run that a process works on is left.

    Example: moola runs prune --keep 20
    """
    from moola.options.option_fields import PROMOTED_ROOT, RUNS_ROOT
    from moola.runs import pruning

    found = pruning.candidates(RUNS_ROOT, PROMOTED_ROOT, options.keep)
    removed, failed = pruning.prune(RUNS_ROOT, found) if options.apply else ([], [])
    screen = Screen(console)
    rows = [[one.run.run_id, f"{one.n_bytes / 1e6:.1f}", one.stays or "goes"] for one in found]
    screen.table(["run", "MB", "stays because"], rows)
    for message in failed:
        screen.write(f"Left: {message}")
    going = [one for one in found if not one.stays]
    size = sum(one.n_bytes for one in going) / 1e6
    if options.apply:
        screen.write(f"{len(removed)} of {len(found)} runs removed.")
    else:
        screen.write(f"{len(going)} of {len(found)} runs would go ({size:.1f} MB); nothing was removed.")
        if going:
            screen.next_command("moola", "runs", "prune", "--keep", options.keep, "--apply")
    screen.result({"going": [one.run.run_id for one in going], "removed": removed, "left": failed})
    return 1 if failed else 0


def doctor(*, console: Console = ConsoleOptions()) -> int:
    """Check versions, device, data, split and disk.

    Says what to fix.

    Example: moola doctor
    """
    from moola.stages.doctor import examine

    result = examine()
    screen = Screen(console)
    for finding in result["findings"]:
        screen.write(f"{finding['state']:5}  {finding['what']}: {finding['found']}")
        if finding["advice"]:
            screen.write(f"       {finding['advice']}")
    screen.write("Ready." if result["healthy"] else "Not ready: fix what is marked fault.")
    screen.result(result)
    return 0 if result["healthy"] else 1
