"""Names and defaults that several commands share.

Every field of an options class is an option, an environment variable (`MOOLA_<OPTION>`) and a key of `moola.toml`; no
other key is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

RUNS_ROOT = Path("artifacts/runs")
PROMOTED_ROOT = Path("artifacts/models/supervised")
METRICS_ROOT = Path("artifacts/metrics")
PROMOTED_NAME = "enhanced_baseline_v2_relative.pt"
DEFAULT_SEED = 17
# The smallest gain in Brier that is worth a change of models.
MIN_GAIN = 0.01

ArmName = Literal["masked", "latent", "structure", "moves", "ts2vec"]
DeviceName = Literal["auto", "cpu", "cuda"]
EngineName = Literal["processes", "ray"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
