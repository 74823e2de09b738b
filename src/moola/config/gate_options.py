"""Options of `gate` and `promote`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moola.config.options import DEFAULT_SEED, MIN_GAIN, PROMOTED_NAME
from moola.errors import WrongUsage


@dataclass(frozen=True, kw_only=True)
class VerdictOptions:
    """What decides a verdict, whoever asks for it.

    Parameters
    ----------
    baseline
        Run id, run folder or model file to beat. Left out: the promoted model, else the newest
        from-scratch run on the same data and split.
    name
        File name of the promoted model.
    seed
        Seed of the bootstrap.
    min_gain
        Smallest gain in Brier that is worth having: a smaller one is inconclusive, however sure. 0 takes any gain.
    """

    baseline: Path | None = None
    name: str = PROMOTED_NAME
    seed: int = DEFAULT_SEED
    min_gain: float = MIN_GAIN


@dataclass(frozen=True, kw_only=True)
class GateOptions(VerdictOptions):
    """Options of `gate`.

    Parameters
    ----------
    run
        The challenger: run id, or its folder under artifacts/runs.
    """

    run: Path


@dataclass(frozen=True, kw_only=True)
class PromoteOptions(VerdictOptions):
    """Options of `promote`: those of `gate`, and the way back.

    Parameters
    ----------
    run
        The challenger: run id, or its folder under artifacts/runs. Left out with --back.
    back
        Return to the model that was in use before the present one, without a gate; again, to the one before that.
    """

    run: Path | None = None
    back: bool = False

    def gate_options(self) -> GateOptions:
        """Return the options of the gate that the run must pass.

        Raises
        ------
        WrongUsage
            No run is named.
        """
        if self.run is None:
            raise WrongUsage("promote must be given --run or --back, but has neither. Name the run to promote.")
        return GateOptions(run=self.run, baseline=self.baseline, name=self.name, seed=self.seed, min_gain=self.min_gain)
