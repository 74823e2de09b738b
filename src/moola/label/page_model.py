"""What models predict for the page's windows: for the queues that ask them, and for the assist mode."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from moola.errors import InvalidData
from moola.evaluation.label_quality import by_suspicion, suspected
from moola.label.page_windows import ONE_OF_SEVERAL, WindowList
from moola.tables.prediction_table import Predictions, read_predictions

if TYPE_CHECKING:
    import torch

    from moola.models.model_files import ModelFile


log = logging.getLogger(__name__)
CHUNK = 1024
# Windows that separates how far bars stand.
LOOKED_AT = 2000


@dataclass(frozen=True)
class ModelAnswers:
    """Calibrated class probabilities, decoded pointers and pointer curves of each window.

    Attributes
    ----------
    disagreement
        How far the members (heads of each model, models of several seeds) differ on each window, in nats; None where
        there is one member only.
    """

    class_names: list[str]
    class_prob: Float[np.ndarray, "windows classes"]
    pointers: Int[np.ndarray, "windows 2"]
    curves: Float[np.ndarray, "windows bars 2"] | None
    disagreement: Float[np.ndarray, " windows"] | None = None

    def entropy(self) -> Float[np.ndarray, " windows"]:
        """Return the entropy of each window's class probabilities in nats: 0 where the model is sure."""
        return entropy(self.class_prob)

    def of(self, number: int) -> dict[str, Any]:
        """Return what the page draws of one window."""
        start, end = (int(bar) for bar in self.pointers[number])
        curves = None if self.curves is None else np.round(self.curves[number].T, 5).tolist()
        shares = [round(float(share), 4) for share in self.class_prob[number]]
        return {
            "classes": dict(zip(self.class_names, shares, strict=True)),
            "start": start if start >= 0 else None,
            "end": end if end >= 0 else None,
            "curves": curves,
        }


def entropy(class_prob: Float[np.ndarray, "*windows classes"]) -> Float[np.ndarray, "*windows"]:
    """Return the entropy of class probabilities in nats."""
    found: np.ndarray = -(class_prob * np.log(np.clip(class_prob, 1e-12, 1.0))).sum(axis=-1)
    return found


def disagreement(member_prob: Float[np.ndarray, "members windows classes"]) -> Float[np.ndarray, " windows"]:
    """Return how much of a window's entropy comes from members that differ, not from each being unsure.

    The entropy of the members' mean less the mean of their entropies (Houlsby et al. 2011, BALD): 0 where all say
    the same, at most ln of the number of members or classes.
    """
    found: np.ndarray = entropy(member_prob.mean(axis=0)) - entropy(member_prob).mean(axis=0)
    return np.maximum(found, 0.0)


def read_answers(paths: Sequence[Path], window_list: WindowList, device_name: str, threads: int) -> ModelAnswers:
    """Read every window with each model file, some thousands at a time; of several models their mean counts.

    Raises
    ------
    InvalidData
        The windows have another length than a model's, or the models have different classes.
    UntrustedFile
        A model file is not what it must be.
    """
    from moola.models.model_files import read_model
    from moola.provenance.learned_times import compare_bar_intervals
    from moola.training.device import prepare_device

    device = prepare_device(device_name, threads)
    models = [read_model(path) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if model.class_names != models[0].class_names:
            raise InvalidData(
                f"models must have the same classes, but {path.name} has {', '.join(model.class_names)} and "
                f"{paths[0].name} has {', '.join(models[0].class_names)}. Name models of the same labels."
            )
    spans = window_list.table(np.arange(min(len(window_list), LOOKED_AT)))
    for model in models:
        if model.window_bars == spans.window_bars:
            compare_bar_intervals(model, spans.start_us, spans.end_us)
    parts = []
    for first in range(0, len(window_list), CHUNK):
        if len(window_list) > CHUNK:
            log.info("Reading windows with the model: %d of %d", first, len(window_list))
        parts.append(_read_part(models, window_list, np.arange(first, min(first + CHUNK, len(window_list))), device))
    curves = [part.curves for part in parts if part.curves is not None]
    apart = [part.disagreement for part in parts if part.disagreement is not None]
    return ModelAnswers(
        list(models[0].class_names),
        np.concatenate([part.class_prob for part in parts]),
        np.concatenate([part.pointers for part in parts]),
        np.concatenate(curves) if curves else None,
        np.concatenate(apart) if apart else None,
    )


def _read_part(
    models: list[ModelFile], window_list: WindowList, numbers: np.ndarray, device: torch.device
) -> ModelAnswers:
    from moola.fit.predicting import average_pointers, predict_windows

    table = window_list.table(numbers).with_features()
    part = np.full(len(numbers), "new", dtype=object)
    found = [predict_windows(model, table, np.arange(len(numbers)), part, device) for model in models]
    members = np.concatenate([_member_prob(model, table.all_features, device) for model in models])
    together = average_pointers(found)
    return ModelAnswers(
        list(models[0].class_names),
        np.mean([one.class_prob for one in found], axis=0),
        together.predicted_bar,
        None if together.curves is None else together.curves.astype(np.float32),
        disagreement(members) if len(members) > 1 else None,
    )


def _member_prob(model: ModelFile, features: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the class probabilities of each head alone: `(heads, windows, classes)`.

    Heads with a hidden layer read windows one way up. Linear heads are one, fitted to both ways at once, and read so.
    """
    import torch

    from moola.evaluation.calibration import calibrated
    from moola.fit.predicting import read_windows_both_ways
    from moola.training.finetune import PASS_WINDOWS

    if model.network.head_kind == "linear":
        return calibrated(read_windows_both_ways(model, features, device)[0], model.temperature)[None]
    scaled = torch.from_numpy(model.scaler.transform(features[:, : model.n_seen_bars]))
    network = model.network.to(device).eval()
    logits = []
    with torch.inference_mode():
        for first in range(0, len(scaled), PASS_WINDOWS):
            piece = scaled[first : first + PASS_WINDOWS]
            outputs = network.each(network.encoder(piece.to(device)))
            logits.append(torch.stack([output.class_logits for output in outputs]).double().cpu().numpy())
    return np.stack([calibrated(of_head, model.temperature) for of_head in np.concatenate(logits, axis=1)])


# Predictions of windows by models that did not learn from them, beside the label that each window was given.


# Windows of these parts were not learnt from.
HELD_OUT = ("val", "test")
ADVICE = "Give predictions.parquet of a `moola cv` over these windows, or of a run."


@dataclass(frozen=True)
class OutOfFold:
    """Given labels and out-of-fold answers of some windows of the list.

    Attributes
    ----------
    order
        Numbers of the windows, the likeliest label error first.
    given
        Classes that each window was given when the predictions were made.
    n_suspected
        Windows that are confidently of another class than given.
    """

    order: list[int]
    given: dict[int, frozenset[str]]
    answers: dict[int, dict[str, Any]]
    n_suspected: int


def read_out_of_fold(path: Path, window_list: WindowList) -> OutOfFold:
    """Read predictions and find their windows in the list; of several rows over one window the worst counts.

    Raises
    ------
    InvalidData
        A row is not out of fold, none is labelled and on the window_list, or one has another time than its window.
    """
    predictions = read_predictions(path)
    foreign = np.flatnonzero(~np.isin(predictions.part.astype(str), HELD_OUT))
    if len(foreign):
        raise InvalidData(
            f"predictions must be of windows that the model did not learn from (part {' or '.join(HELD_OUT)}), but "
            f"{len(foreign)} of {len(predictions)} are not ({path}, column part, first at row {foreign[0]}: "
            f"{str(predictions.part[foreign[0]])[:40]!r}). {ADVICE}"
        )
    place = {name: number for number, name in enumerate(window_list.window_id)}
    numbers = np.array([place.get(ONE_OF_SEVERAL.sub("", name), -1) for name in predictions.window_id], dtype=np.int64)
    kept = np.flatnonzero((numbers >= 0) & (predictions.class_index >= 0))
    if not len(kept):
        raise InvalidData(
            f"predictions must be of labelled windows that are labelled here, but none of {len(predictions)} is "
            f"({path}). {ADVICE}"
        )
    found, numbers = predictions.take(kept), numbers[kept]
    _check_times(path, found, numbers, window_list)
    return _laid_out(found, numbers)


def _check_times(path: Path, found: Predictions, numbers: np.ndarray, window_list: WindowList) -> None:
    if found.start_us is None:
        return
    wrong = np.flatnonzero(found.start_us != window_list.bars.start_us[window_list.first_bar[numbers]])
    if len(wrong):
        raise InvalidData(
            f"predictions must be of the same bars as the windows of their ids, but {len(wrong)} of {len(found)} start "
            f"at another time ({path}, first {found.window_id[wrong[0]]!r}). {ADVICE}"
        )


def _laid_out(found: Predictions, numbers: np.ndarray) -> OutOfFold:
    order = numbers[by_suspicion(found.class_index, found.class_prob)]
    given: dict[int, set[str]] = {}
    answers: dict[int, dict[str, Any]] = {}
    for row, number in enumerate(numbers.tolist()):
        given.setdefault(number, set()).add(found.class_names[found.class_index[row]])
        start, end = (int(bar) if bar >= 0 else None for bar in found.predicted_bar[row])
        shares = [round(float(share), 4) for share in found.class_prob[row]]
        classes = dict(zip(found.class_names, shares, strict=True))
        answers[number] = {"classes": classes, "start": start, "end": end, "curves": None, "out_of_fold": True}
    off = np.unique(numbers[suspected(found.class_index, found.class_prob)])
    return OutOfFold(
        list(dict.fromkeys(order.tolist())),
        {name: frozenset(labels) for name, labels in given.items()},
        answers,
        len(off),
    )
