"""CPSA: synthetic training windows that keep their class, made on prices of training rows (SPEC.md 8)."""

from moola.data.augmentation.entries import AUGMENTATIONS, Augmentation
from moola.data.augmentation.making import Made, MakingPlan, can_synthesise, make_windows, synthesise
from moola.data.augmentation.mirror import UNDIRECTED, can_mirror, class_swaps
from moola.data.augmentation.source import Source, training_ranges
from moola.data.augmentation.window import Window, windows_of

__all__ = [
    "AUGMENTATIONS",
    "UNDIRECTED",
    "Augmentation",
    "Made",
    "MakingPlan",
    "Source",
    "Window",
    "can_mirror",
    "can_synthesise",
    "class_swaps",
    "make_windows",
    "synthesise",
    "training_ranges",
    "windows_of",
]
