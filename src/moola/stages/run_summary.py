"""One summary of a run, which terminal, model card and report show: its record and options, figures, references, parts,
and whether it can be trusted, with the words that all three use."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from moola.core.bars import minute_text
from moola.core.splits import PARTS
from moola.evaluation.figures import Evaluation
from moola.evaluation.trust import Trust
from moola.fit.reference_fits import references_of_run
from moola.models.model_files import read_model
from moola.options.option_sources import command_line as shell_line
from moola.options.training_options import TrainOptions
from moola.runs import run_store
from moola.tables.prediction_table import read_predictions
from moola.tables.split_file import read_split

# What `train` found out for itself, and what does not change the model.
FOUND_OR_IDLE = ("resume", "save_run", "input_dim")
NEW_RUN = "<RUN_ID>"


def training_command(config: dict[str, Any]) -> str:
    """Write the `moola train` line of a run's options."""
    return command_line("train", TrainOptions, config)


def command_line(command: str, options: type, config: dict[str, Any]) -> str:
    """Write the line of a command whose options a config has, naming each that is not at its default."""
    words: list[Any] = ["moola", command]
    for field in fields(options):
        value = config.get(field.name)
        default = None if field.default is MISSING else field.default
        plain_default = list(default) if isinstance(default, tuple) else default
        if field.name in FOUND_OR_IDLE or value is None or value == plain_default:
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        words += value if isinstance(value, list) else [value]
    return shell_line(*words)


@dataclass(frozen=True)
class PartOfSplit:
    """A part of the split: labelled windows of each class, and first and last bar to the minute, where known."""

    name: str
    n_windows: int
    class_counts: dict[str, int]
    times: tuple[str, str] | None


@dataclass(frozen=True)
class RunSummary:
    """All that is shown of a run, as plain values.

    Attributes
    ----------
    manifest, config
        The run's record and its options.
    evaluation
        Figures of the part evaluated, as `Evaluation.as_dict()` gives them.
    references
        Further columns beside the class share: name to figure to value.
    parts
        Train, val and test, in this order.
    training
        What the model file records of its training.
    trust
        The answer to whether the model can be trusted; None before it was asked.
    """

    manifest: dict[str, Any]
    config: dict[str, Any]
    evaluation: dict[str, Any]
    references: dict[str, dict[str, float | None]]
    parts: list[PartOfSplit]
    temperature: float
    training: dict[str, Any]
    trust: Trust | None = None

    @classmethod
    def of(cls, run: run_store.Run, evaluation: Evaluation, trust: Trust | None = None) -> Self:
        """Collect it from the run's folder, and from data and split where they are still the run's."""
        config, model = run.read(run_store.CONFIG), read_model(run.path(run_store.MODEL))
        references = references_of_run(run, evaluation.part)
        judged, training = evaluation.as_dict(), dict(model.training)
        parts = _parts(run, config)
        return cls(run.record, config, judged, references, parts, model.temperature, training, trust)

    @property
    def leaks(self) -> list[str]:
        """Sentences on what the model saw of the evaluated windows."""
        return [str(leak) for leak in self.manifest.get("leaks") or []]

    @property
    def leak_proof(self) -> str:
        """Whether no bar is in two parts, and nothing that was evaluated was learned from."""
        if self.leaks:
            return "no"
        words = {
            True: "yes: no part of the split shares a bar with another",
            None: "could not be checked, the windows have no times",
        }
        return words.get(self.manifest.get("leak_proof"), "no")

    @property
    def annotators(self) -> list[str]:
        """Who labelled the rows."""
        return self.manifest.get("labelled_by") or []

    @property
    def n_windows(self) -> dict[str, int]:
        """Windows by part."""
        return self.manifest.get("n_windows") or {}

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder stayed as it was pretrained."""
        return bool((self.manifest.get("encoder") or {}).get("frozen"))

    @property
    def encoders(self) -> list[str]:
        """The files of the pretrained encoders; empty for a run from scratch."""
        named = self.config.get("pretrained_encoder")
        if not self.manifest.get("pretrained"):
            return []
        return [str(one) for one in (named if isinstance(named, list) else [named])]

    @property
    def synthetic(self) -> str:
        """Synthetic windows in training."""
        if not self.config.get("augment_data"):
            return "none"
        # Older runs do not record the choice: theirs were mirrored.
        ways = ", ".join(self.config.get("augmentations") or ["mirror"])
        ratios = self.config.get("cpsa_schedule") or [self.config.get("cpsa_ratio")]
        return f"{', then '.join(map(str, ratios))} per real window in each epoch ({ways})"

    @property
    def chosen_by_val(self) -> str:
        """A sentence on what the evaluated windows selected, where they are those of val; empty where nothing."""
        chosen = run_store.chosen_by_val(self.manifest)
        if self.evaluation["part"] != "val" or chosen == "nothing":
            return ""
        return f"These windows selected {chosen}: the metrics are optimistic."

    def commands(self, seed: int | None = None) -> list[str]:
        """Return the lines that make the run again, and evaluate it."""
        commit = self.manifest.get("git_commit")
        checkout = [shlex.join(["git", "checkout", str(commit)])] if commit else []
        seeded = [] if seed is None else ["--seed", str(seed)]
        return [*checkout, training_command(self.config), shell_line("moola", "eval", "--run", NEW_RUN, *seeded)]


def _parts(run: run_store.Run, config: dict[str, Any]) -> list[PartOfSplit]:
    facts, predictions = run.read(run_store.FACTS), read_predictions(run.path(run_store.PREDICTIONS))
    counts = {"train": {str(name): int(n) for name, n in facts["class_counts"].items()}}
    for part in PARTS[1:]:
        index = predictions.class_index[predictions.part == part]
        counts[part] = dict(sorted(Counter(predictions.class_names[i] for i in index if i >= 0).items()))
    times, n_windows = times_of_parts(run.record, config), run.record.get("n_windows") or {}
    return [PartOfSplit(part, n_windows.get(part, 0), counts[part], times.get(part)) for part in PARTS]


def times_of_parts(manifest: dict[str, Any], config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return when each part of a run's split begins and ends; nothing where the file is no longer the run's."""
    split = run_store.unchanged(manifest, config, "split")
    ranges = {} if split is None else read_split(split).time_range_us
    return {part: (minute_text(first), minute_text(last)) for part, (first, last) in ranges.items()}
