"""The table of commands, and what every error becomes."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Env

from moola import __version__
from moola.cli import judging_commands, label_commands, run_commands, scan_commands, table_commands, training_commands
from moola.cli.arguments import HelpPages, from_file, join_booleans, refuse_impossible, tell_sources, with_full_names
from moola.cli.console import (
    Console,
    ConsoleOptions,
    Screen,
    close_logging,
    exit_code,
    printable,
    reader_left,
    resume_hint,
    set_up_logging,
    terminable,
)
from moola.errors import Interrupted, MoolaError
from moola.options.option_fields import OUTPUT, basic
from moola.options.option_sources import COMMAND_OPTIONS, ENVIRONMENT_PREFIX, option_names

# Options that take memory, the one that costs least to lower first.
TAKING_MEMORY = ("batch_size", "batch_windows", "hidden_dim")
HELP = "Find chart patterns from few labels; moola.toml and MOOLA_<OPTION> set options."

HELP_ALL = "--help-all"
HELP_FLAGS = ["--help", "-h", HELP_ALL]
# What an option's field does not say: without `basic` at its field an option is not in --help.
EVERY_OPTION = Parameter(
    consume_multiple=True, negative_iterable=(), show_env_var=False, validator=refuse_impossible, show=False
)

app = App(
    name="moola",
    help=HELP,
    version=__version__,
    help_format="plaintext",
    help_formatter=HelpPages(),
    help_flags=HELP_FLAGS,
    help_epilogue=f"Every command takes --help, {HELP_ALL} (all options), --json and --debug.",
    default_parameter=EVERY_OPTION,
    config=[Env(ENVIRONMENT_PREFIX, command=False), from_file],
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
bars = App(name="bars", help_flags=HELP_FLAGS, help="Check or import bars.")
runs = App(name="runs", help_flags=HELP_FLAGS, help="List, show or prune runs.")
label_store = App(name="labels", help_flags=HELP_FLAGS, help="Export, import, describe, check or back up labels.")
cpsa = App(name="cpsa", help_flags=HELP_FLAGS, help="Preview synthetic training windows (CPSA).")


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], basic("Shell that is to complete.", OUTPUT)],
    /,
    *,
    console: Console = ConsoleOptions(),
) -> int:
    """Print a script that lets a shell complete commands and options.

    bash: moola completion bash > ~/.local/share/bash-completion/completions/moola. zsh: into a file _moola in a folder
    of $fpath. fish: into ~/.config/fish/completions/moola.fish. It holds in shells that begin afterwards.

    Example: moola completion bash
    """
    script = app.generate_completion(prog_name="moola", shell=shell)
    screen = Screen(console)
    if not screen.as_json:
        # As it is: a script is no message.
        sys.stdout.write(script)
    screen.result({"shell": shell, "script": script})
    return 0


# In the order of the work, so that --help reads as its table of contents.
CONTENTS: dict[str, dict[str, App | Callable[..., int]]] = {
    "Bars, windows and labels": {
        "new": run_commands.new,
        "sample": table_commands.sample,
        "bars": bars,
        "windows": table_commands.windows,
        "label": label_commands.label,
        "labels": label_store,
        "autolabel": table_commands.autolabel,
        "convert": table_commands.convert,
        "split": table_commands.split,
    },
    "Training": {
        "cpsa": cpsa,
        "pretrain-bilstm": training_commands.pretrain_bilstm,
        "pretrain-ts2vec": training_commands.pretrain_ts2vec,
        "tune": training_commands.tune,
        "train": training_commands.train,
    },
    "Evaluation": {
        "leakcheck": judging_commands.leakcheck,
        "eval": judging_commands.evaluate,
        "cv": judging_commands.cv,
        "compare": judging_commands.compare,
        "benchmark": training_commands.benchmark,
        "gate": judging_commands.gate,
        "promote": judging_commands.promote,
        "report": judging_commands.report,
    },
    "Finding events": {
        "predict": training_commands.predict,
        "scan": scan_commands.scan,
        "similar": scan_commands.similar,
        "export": training_commands.export,
    },
    "Runs and installation": {
        "runs": runs,
        "doctor": run_commands.doctor,
        "completion": completion,
    },
}
COMMANDS = {name: command for chapter in CONTENTS.values() for name, command in chapter.items()}
bars.command(table_commands.check_bars, name="check")
bars.command(table_commands.import_bars, name="import")
label_store.command(label_commands.export_labels, name="export")
label_store.command(label_commands.import_labels, name="import")
label_store.command(label_commands.label_stats, name="stats")
label_store.command(label_commands.check_store, name="check")
label_store.command(label_commands.back_up_store, name="backup")
cpsa.command(table_commands.preview, name="preview")
runs.command(run_commands.list_runs, name="list")
runs.command(run_commands.show_run, name="show")
runs.command(run_commands.prune_runs, name="prune")
for _title, _chapter in CONTENTS.items():
    _group = Group.create_ordered(_title)
    for _place, (_name, _command) in enumerate(_chapter.items()):
        if isinstance(_command, App):
            _command.group, _command.sort_key = (_group,), _place
            app.command(_command)
        else:
            app.command(_command, name=_name, group=_group, sort_key=_place)
app["--help"].show = app["--version"].show = False


@contextmanager
def shown_options(tokens: list[str]) -> Iterator[None]:
    """Show every option of a command inside, where --help-all asks for it."""
    try:
        if HELP_ALL in tokens:
            app.default_parameter = Parameter.combine(EVERY_OPTION, Parameter(show=True))
        yield
    finally:
        app.default_parameter = EVERY_OPTION


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its documented code (specification 10)."""
    # Before numpy is loaded: one thread for its products, unless the environment says otherwise (`prepare_device`).
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    tokens = join_booleans(sys.argv[1:] if arguments is None else arguments)
    command = " ".join(tokens[: 2 if tokens[:1] in (["bars"], ["runs"], ["cpsa"], ["labels"]) else 1])
    set_up_logging(command if command and not command.startswith("-") else "moola")
    debug = any(token in ("--debug", "--debug=true") for token in tokens)
    as_json = any(token in ("--json", "--json=true") for token in tokens)
    try:
        with terminable(), shown_options(tokens):
            run, given, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
            # Wrong usage ends before this line, with its sentence alone.
            tell_sources()
            given.arguments.update({name: with_full_names(one) for name, one in given.arguments.items()})
            code = run(*given.args, **given.kwargs)
            sys.stdout.flush()
    except Interrupted as error:
        code = _fail(f"{error}{resume_hint(error, tokens)}", exit_code(error), debug, as_json)
    except MoolaError as error:
        code = _fail(str(error), error.exit_code, debug, as_json)
    except CycloptsError as error:
        code = _fail(f"{error} See moola {command} --help.".replace("  ", " "), 2, debug, as_json)
    except KeyboardInterrupt as stop:
        code = _fail("Interrupted. Existing files are unchanged.", exit_code(stop), debug, as_json)
    except Exception as error:
        # Where the reader has left nothing more can be reported; any other broken pipe is news.
        is_news = not (isinstance(error, BrokenPipeError) and reader_left())
        code = _fail(_unforeseen(error, command), 1, debug, as_json) if is_news else 1
    finally:
        close_logging()
    sys.exit(code if isinstance(code, int) else 0)


def _unforeseen(error: Exception, command: str) -> str:
    """State what ended a command that no rule foresaw: memory that ran out, or a fault of ours."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk must have room for what {command} writes, but {error.strerror}. Free space and run it again."
    # Recognised by name, because torch is imported only where a command needs it; its CPU has no error of its own.
    ran_out = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not ran_out and "can't allocate memory" not in str(error):
        return f"Unexpected {type(error).__name__}: {error}. Run again with --debug and report it."
    known = option_names(command) if command in COMMAND_OPTIONS else set()
    lower = [f"--{name.replace('_', '-')}" for name in TAKING_MEMORY if name in known]
    message = str(error).splitlines()[0][:200] if str(error) else "it ran out"
    advice = f"Lower {' or '.join(lower)}" if lower else "Give less data"
    return f"memory must hold the work, but {message}. {advice}."


def _fail(message: str, code: int, debug: bool, as_json: bool) -> int:
    if debug:
        print(printable(traceback.format_exc(), kept="\n\t"), file=sys.stderr, end="")
    log = logging.getLogger("moola.cli")
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}))
    # Wrong usage leaves no trace on disk, the log file included.
    if code == 2:
        print(f"Error: {printable(message)}", file=sys.stderr)
    else:
        log.error("Error: %s", message)
    return code
