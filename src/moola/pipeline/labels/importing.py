"""`labels import`: labels of other files into the label store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from moola.config.labels_options import LabelsImportOptions
from moola.data.contracts.frames import PARQUET_MAGIC
from moola.data.contracts.label_rows import check_label
from moola.data.contracts.label_store import LabelStore, WindowLabel
from moola.errors import InvalidData
from moola.files import read_bytes
from moola.pipeline.labels.drafts import Drafts, window_file_drafts
from moola.pipeline.labels.label_studio import label_studio_drafts
from moola.pipeline.labels.places import BarPlaces, read_named_bars
from moola.pipeline.labels.same_bars import learn_bars, require_same_bars

ADVICE = "Nothing was imported: mend the file, or check --bars and --window-bars."


def import_labels(options: LabelsImportOptions) -> dict[str, Any]:
    """Save the labels of a window file or of a Label Studio export, all of them or none.

    A label that the store has already is left alone; one that differs is kept as the store has it, or saved as a
    new revision with `overwrite`. A note in the store survives that.

    Returns
    -------
    dict
        `added`, `unchanged`, `overwritten`, `kept` (counts), `kept_windows` (window and annotator of each that differs)
        and `passed_over` (counts by kind).

    Raises
    ------
    InvalidData
        The file breaks rules (all listed), or has no labels; nothing is written.
    LabelConflict
        Somebody saved one of these windows meanwhile; nothing is written.
    """
    places = BarPlaces(read_named_bars(options.bars, options.symbol), options.window_bars)
    is_parquet = read_bytes(options.input, "the input", "Check --input.").startswith(PARQUET_MAGIC)
    drafts = (window_file_drafts if is_parquet else label_studio_drafts)(options, places)
    _repeated(drafts)
    if not drafts.labels and not drafts.broken:
        raise InvalidData(f"{options.input} must have labels, but it has none. Check --input.")
    # A file that is refused leaves no new store behind either.
    if drafts.broken and not options.store.exists():
        raise InvalidData.from_problems(options.input, drafts.problems, ADVICE)
    for label in drafts.labels:
        check_label(label)
    with LabelStore(options.store) as store:
        known = {(label.window_id, label.annotator): label for label in store.all()}
        _other_bars(drafts, known)
        if drafts.broken:
            raise InvalidData.from_problems(options.input, drafts.problems, ADVICE)
        require_same_bars(store, places, options.bars, {label.symbol for label in drafts.labels})
        result = _save(drafts, known, store, places, options)
        learn_bars(store, places, options.bars)
        return result


def _repeated(drafts: Drafts) -> None:
    seen: set[tuple[str, str]] = set()
    for row, label in enumerate(drafts.labels):
        if (label.window_id, label.annotator) in seen:
            drafts.breaks("a window must come once for each annotator", row, label.window_id)
        seen.add((label.window_id, label.annotator))


def _other_bars(drafts: Drafts, known: dict[tuple[str, str], WindowLabel]) -> None:
    stands = {label.window_id: (label.symbol, label.start_us, label.end_us) for label in known.values()}
    for row, label in enumerate(drafts.labels):
        if stands.get(label.window_id, own := (label.symbol, label.start_us, label.end_us)) != own:
            drafts.breaks("a window must be of the same bars as in the store", row, label.window_id)


def _save(
    drafts: Drafts,
    known: dict[tuple[str, str], WindowLabel],
    store: LabelStore,
    places: BarPlaces,
    options: LabelsImportOptions,
) -> dict[str, Any]:
    changes: list[tuple[WindowLabel, int]] = []
    added = unchanged = 0
    kept = []
    for told in drafts.labels:
        stands = known.get((told.window_id, told.annotator))
        if stands is None:
            added += 1
            changes.append((told, 0))
            continue
        # Files carry no notes, so that an import has nothing to say about them.
        label = replace(told, note=stands.note)
        if label.says_the_same(stands):
            unchanged += 1
        elif options.overwrite:
            changes.append((label, stands.revision))
        else:
            kept.append({"window_id": label.window_id, "annotator": label.annotator})
    if changes:
        bars = {label.window_id: places.content(label.symbol, label.start_us, label.end_us) for label, _ in changes}
        store.save_all(changes, {name: content for name, content in bars.items() if content is not None})
    return {
        "store": str(options.store),
        "added": added,
        "unchanged": unchanged,
        "overwritten": len(changes) - added,
        "kept": len(kept),
        "kept_windows": kept,
        "passed_over": {name: count for name, count in drafts.passed_over.items() if count},
    }
