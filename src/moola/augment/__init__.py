"""CPSA: synthetic training windows that keep their class, made on prices of training rows (specification 8)."""

from moola.augment.synthesis import (
    AUGMENTATIONS,
    Augmentation,
    Made,
    SynthesisPlan,
    can_synthesise,
    make_windows,
    synthesise,
)
from moola.augment.training_windows import Source, Window, training_ranges, windows_of
from moola.augment.transforms import UNDIRECTED, can_mirror, class_swaps

__all__ = [
    "AUGMENTATIONS",
    "UNDIRECTED",
    "Augmentation",
    "Made",
    "Source",
    "SynthesisPlan",
    "Window",
    "can_mirror",
    "can_synthesise",
    "class_swaps",
    "make_windows",
    "synthesise",
    "training_ranges",
    "windows_of",
]
