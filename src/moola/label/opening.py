"""`label` from its options to a desk: bars, windows, the model's answers, the store."""

from __future__ import annotations

import getpass
from pathlib import Path

from moola.config.label_options import LabelOptions
from moola.config.ranges import refuse_out_of_range
from moola.data.contracts.label_store import LabelStore
from moola.errors import OperationFailed, WrongUsage
from moola.label.desk import Desk
from moola.label.model import read_answers
from moola.label.out_of_fold import read_out_of_fold
from moola.label.windows import cut_shelf, shelf_of_file
from moola.pipeline.labels.places import BarPlaces, read_named_bars
from moola.pipeline.labels.same_bars import learn_bars, require_same_bars


def require_label_extra() -> None:
    """Say what to install where the server's packages are missing."""
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise OperationFailed(
            f"`moola label` must have FastAPI and uvicorn, but {error.name or 'fastapi'} is not installed. "
            'Install them: pip install "moola[label]".'
        ) from error
    assert fastapi
    assert uvicorn


def open_desk(options: LabelOptions) -> Desk:
    """Read everything that the page needs; the store is opened last, so that wrong input makes none.

    Raises
    ------
    WrongUsage
        No class, a class twice or empty, too many for the digit keys, or a number out of its range.
    """
    _check(options)
    window_bars = _window_bars(options)
    bars = read_named_bars(options.bars, options.symbol)
    if options.windows is None:
        shelf = cut_shelf(bars, window_bars, options.stride, options.max_gap_hours)
    else:
        shelf = shelf_of_file(bars, options.windows, window_bars)
    answers = read_answers(options.model, shelf, options.device, options.threads) if options.model else None
    out_of_fold = None if options.predictions is None else read_out_of_fold(options.predictions, shelf)
    store = LabelStore(options.store)
    try:
        places = BarPlaces(bars, window_bars)
        require_same_bars(store, places, options.bars, bars.symbols)
        learn_bars(store, places, options.bars)
        store.learn({}, {symbol: places.interval_us(symbol) for symbol in bars.symbols})
        return Desk(
            shelf,
            store,
            answers,
            options.annotator.strip() if options.annotator is not None else _login(),
            options.classes,
            options.context_bars,
            options.seed,
            _name_of(options.model),
            out_of_fold,
        )
    except BaseException:
        store.close()
        raise


def _window_bars(options: LabelOptions) -> int:
    """Return the length that the options say, else that of the models."""
    from moola.pipeline.lengths import agreed_window_bars

    if not options.model:
        return agreed_window_bars(options.window_bars, {})
    from moola.models.files import read_model

    return agreed_window_bars(options.window_bars, {path: read_model(path).window_bars for path in options.model})


def _check(options: LabelOptions) -> None:
    refuse_out_of_range(options)
    names = options.classes
    if not 1 <= len(names) <= 9 or len(set(names)) < len(names) or any(not name.strip() for name in names):
        raise WrongUsage(
            f"--classes must be 1 to 9 different names, but {len(names)} were given: {', '.join(names) or 'none'}. "
            "Each has a digit key."
        )
    unprintable = [name for name in names if not name.isprintable() or len(name) > 100]
    if unprintable:
        raise WrongUsage(
            f"a class must be one printable line of at most 100 characters, but {len(unprintable)} of --classes is "
            f"not: {unprintable[0][:40]!a}. Name it anew."
        )
    if options.annotator is not None and not 1 <= len(options.annotator.strip()) <= 64:
        raise WrongUsage("--annotator must have 1 to 64 characters. Leave it out for the login name.")


def _name_of(models: tuple[Path, ...]) -> str | None:
    if len(models) > 1:
        return f"mean of {len(models)}"
    return models[0].name if models else None


def _login() -> str:
    try:
        return getpass.getuser()[:64]
    except (OSError, KeyError, ImportError):
        # A container may have no name for its user.
        return "annotator"
