"""The form in which presence is kept in a model file, and what is checked when it is read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from moola.core.span_shapes import N_BAR_VALUES, N_SPAN_VALUES
from moola.core.spans import BACKGROUND
from moola.models.presence_part import (
    ARRAYS_OF_FOREST,
    N_SIDE_VALUES,
    BarStage,
    Detector,
    Forest,
    Person,
    Presence,
    classes_of,
)

MOST_NODES = 5_000_000
MOST_AHEAD, MOST_SCALE, MOST_STRIDE = 1000, 1000, 10_000
ARRAYS_OF_BARS = ("center", "scale", "weights", "bias", "log_length")


def stored(presence: Presence | None) -> dict[str, Any] | None:
    """Return tensors and plain values for a model file."""
    if presence is None:
        return None
    return {
        "detectors": [_stored_detector(detector) for detector in presence.detectors],
        "slope": float(presence.slope),
        "intercept": float(presence.intercept),
        "threshold": float(presence.threshold),
        "record": presence.record,
        "ahead": presence.ahead,
        "people": {
            name: {"intercept": float(one.intercept), "threshold": float(one.threshold)}
            for name, one in presence.people.items()
        },
    }


def _stored_detector(detector: Detector) -> dict[str, Any]:
    stage, forest = detector.bars, detector.forest
    return {
        "upright": detector.upright,
        "turned": detector.turned,
        "bars": {name: torch.from_numpy(np.array(getattr(stage, name))) for name in ARRAYS_OF_BARS}
        | {"shortest": stage.shortest, "floor": float(stage.floor)},
        "forest": {name: torch.from_numpy(np.array(getattr(forest, name))) for name in ARRAYS_OF_FOREST},
        "scale": detector.scale,
        "slope": float(detector.slope),
        "intercept": float(detector.intercept),
    }


def restored(content: dict[str, Any] | None, class_names: list[str], both_ways: bool, n_hidden: int) -> Presence | None:
    """Read back what `stored` gave.

    Raises
    ------
    ValueError
        It cannot be used: other shapes, numbers that are not finite, trees that run in circles.
    """
    if content is None:
        return None
    slope, intercept, threshold = (float(content[name]) for name in ("slope", "intercept", "threshold"))
    if not np.isfinite([slope, intercept, threshold]).all() or not 0 <= threshold <= 1:
        raise ValueError(f"presence with slope {slope}, intercept {intercept} and threshold {threshold}")
    detectors = [_restored_detector(one, n_hidden) for one in content["detectors"]]
    by_scale = [
        sorted(one for detector in detectors if detector.scale == scale for one in classes_of(detector))
        for scale in {detector.scale for detector in detectors}
    ]
    events = {one for one, name in enumerate(class_names) if name != BACKGROUND}
    # Each class of which there were spans enough, once at each scale.
    if not by_scale or any(found != by_scale[0] for found in by_scale):
        raise ValueError(f"presence of other classes at each scale: {by_scale}")
    if not by_scale[0] or len(set(by_scale[0])) != len(by_scale[0]) or not set(by_scale[0]) <= events:
        raise ValueError(f"presence of the classes {by_scale[0]} of {class_names}")
    if any((one.turned is not None) != both_ways for one in detectors):
        raise ValueError("presence that reads bars in other ways than the model")
    people = {}
    for name, own in dict(content["people"]).items():
        person = Person(float(own["intercept"]), float(own["threshold"]))
        if type(name) is not str or not np.isfinite(person.intercept) or not 0 <= person.threshold <= 1:
            raise ValueError(f"presence of an annotator {name!r} with {person}")
        people[name] = person
    ahead = content["ahead"]
    if not (ahead is None or (type(ahead) is int and 0 <= ahead <= MOST_AHEAD)):
        raise ValueError(f"presence that looks {ahead!r} bars ahead")
    found = Presence(detectors, slope, intercept, threshold, dict(content["record"]), people, ahead)
    if type(found.record.get("stride_bars", 1)) is not int or not 1 <= found.stride <= MOST_STRIDE:
        raise ValueError(f"presence that reads windows {found.record['stride_bars']!r} bars apart")
    return found


def _restored_detector(content: dict[str, Any], n_hidden: int) -> Detector:
    upright, turned = content["upright"], content["turned"]
    if type(upright) is not int or not (turned is None or type(turned) is int):
        raise ValueError(f"a detector of the classes {upright!r} and {turned!r}")
    # Files of before read a chart at one scale.
    scale = content.get("scale", 1)
    slope, intercept = float(content.get("slope", 1.0)), float(content.get("intercept", 0.0))
    if type(scale) is not int or not 1 <= scale <= MOST_SCALE or not np.isfinite([slope, intercept]).all():
        raise ValueError(f"a detector of {scale!r} bars in one, slope {slope} and intercept {intercept}")
    width = n_hidden * (1 + (turned is not None)) + N_BAR_VALUES
    bars, forest = _restored_bars(content["bars"], width), _restored_forest(content["forest"])
    return Detector(upright, turned, bars, forest, scale, slope, intercept)


def _array(tensor: Tensor, dtype: type, *shape: int | None) -> np.ndarray:
    array = tensor.numpy()
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"an array of presence of shape {array.shape}, not {shape}, or with what is no number")
    return np.array(array)


def _restored_bars(content: dict[str, Any], n_values: int) -> BarStage:
    center, scale = (_array(content[name], np.float64, n_values) for name in ("center", "scale"))
    log_length = _array(content["log_length"], np.float64, None)
    shortest, floor = content["shortest"], float(content["floor"])
    if not ((scale > 0).all() and type(shortest) is int and 1 <= shortest <= len(log_length) and np.isfinite(floor)):
        raise ValueError("a first stage of presence that cannot be used")
    weights, bias = _array(content["weights"], np.float64, 3, n_values), _array(content["bias"], np.float64, 3)
    return BarStage(center, scale, weights, bias, log_length, shortest, floor)


def _restored_forest(content: dict[str, Any]) -> Forest:
    root = _array(content["root"], np.int64, None)
    n_nodes = len(content["feature"])
    feature, left, right = (_array(content[name], np.int64, n_nodes) for name in ("feature", "left", "right"))
    cut, share = (_array(content[name], np.float64, n_nodes) for name in ("cut", "share"))
    inner = left >= 0
    node = np.arange(n_nodes)
    # Children stand behind their parent: no walk is without end.
    sound = (
        (left[inner] > node[inner]) & (right[inner] > node[inner]) & (right[inner] < n_nodes) & (left[inner] < n_nodes)
    )
    sound &= (feature[inner] >= 0) & (feature[inner] < N_SPAN_VALUES + N_SIDE_VALUES)
    in_range = len(root) and n_nodes <= MOST_NODES and root.min() >= 0 and root.max() < n_nodes
    if not (in_range and sound.all() and (share >= 0).all() and (share <= 1).all()):
        raise ValueError("trees of presence that cannot be used")
    return Forest(root, feature, cut, left, right, share)
