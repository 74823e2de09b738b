"""What a study judges and how: inner folds, today's defaults, and what may be chosen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from moola.config.train_options import TrainOptions
from moola.config.tune_options import HELD, HIGHER_IS_BETTER, TuneOptions
from moola.config.tune_ranges import Choices, Ranges, Value, declared_ranges, plain_ranges
from moola.core.windows import WINDOW_BARS
from moola.errors import WrongUsage
from moola.pipeline.tuning.inner_folds import InnerFolds, gather_inner, judge_fold, resolved
from moola.training.device import prepare_device

# What does not decide a trial's figure, or is in the digest of the rows.
IDLE = ("data", "split", "pretrained_encoder", "device", "threads", "seed", "save_run", "resume")


@dataclass(frozen=True)
class Plan:
    """Inner folds, today's defaults, and what may be chosen.

    Attributes
    ----------
    base
        Options of `train` as they are today, with what is held; what they leave open, each fold fills in.
    defaults
        What that comes to, of each option that may be chosen.
    held
        What is held for every trial, and is not written into the settings file.
    """

    inner: InnerFolds
    base: TrainOptions
    defaults: dict[str, Value]
    ranges: Ranges
    held: dict[str, Any]
    metric: str
    seed: int
    device: torch.device

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.metric in HIGHER_IS_BETTER else -1

    def figure(self, fold: int, values: dict[str, Value], seed: int) -> float:
        """Return the figure of one fold under some values."""
        return judge_fold(self.inner, fold, with_values(self.base, values), self.metric, seed, self.device)


def with_values(base: TrainOptions, values: dict[str, Any]) -> TrainOptions:
    """Return the options with some of them changed."""
    return replace(base, **values)


def make_plan(options: TuneOptions) -> Plan:
    """Read what there is to judge on, and try each end of each range before the first fit.

    Raises
    ------
    WrongUsage
        A range has a value that `train` refuses, or nothing is left to choose.
    """
    held = {name: value for name in HELD if (value := getattr(options, name)) not in (None, ())}
    with_encoder = options.pretrained_encoder is not None
    ranges = declared_ranges(with_encoder, options.ranges, held)
    single = {
        name: found.values[0]
        for name, found in ranges.items()
        if isinstance(found, Choices) and len(set(found.values)) == 1
    }
    ranges = {name: found for name, found in ranges.items() if name not in single}
    held |= single
    inner = gather_inner(options)
    base = TrainOptions(
        data=options.data,
        split=options.split,
        pretrained_encoder=options.pretrained_encoder,
        window_bars=options.window_bars,
        save_run=False,
        device=options.device,
        threads=options.threads,
        seed=options.seed,
        **held,
    )
    for name, found in ranges.items():
        for end in found.ends:
            resolved(inner, 0, with_values(base, {name: end}))
    today = resolved(inner, 0, base)
    if today.freeze_encoder and "freeze_encoder" not in ranges:
        ranges.pop("encoder_rate", None)
    if not ranges:
        raise WrongUsage("tune must have an option to choose, but each of them is held. Hold fewer of them.")
    if options.window_bars not in (None, WINDOW_BARS):
        held["window_bars"] = options.window_bars
    if with_encoder:
        held["pretrained_encoder"] = str(options.pretrained_encoder)
    device = prepare_device(options.device, options.threads)
    defaults = {name: getattr(today, name) for name in ranges}
    return Plan(inner, base, defaults, ranges, held, options.metric, options.seed, device)


def deciding(plan: Plan) -> dict[str, str]:
    """What decides a trial's figure: a study that was begun with other is another study."""
    inner = plan.inner
    return {
        "train rows": inner.rows_sha256,
        "encoder": inner.encoder_sha256 or "",
        "ranges": str(plain_ranges(plan.ranges)),
        "inner folds": str([(fold.train.tolist(), fold.val.tolist(), fold.test.tolist()) for fold in inner.folds]),
        "metric": plan.metric,
        "seed": str(plan.seed),
        "defaults": str(plan.defaults),
        "options": str({name: value for name, value in asdict(plan.base).items() if name not in IDLE}),
    }
