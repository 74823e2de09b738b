"""What makes vectors of an encoder comparable as spans: linear maps, learned for `base`, or made for any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from moola.core.span_matching import SpanVectors, unit
from moola.errors import UntrustedFile
from moola.models.model_files import EncoderFile, weights_digest
from moola.models.sealed import digest, read_sealed, write_sealed

KIND = "span metric"
# Learned by scripts/base/make_span_metric.py for the encoder inside the package.
METRIC_FILE = Path(__file__).with_name("base_span_metric.pt")
# Of an encoder without a learned metric: so many principal components, whitened by half.
N_COMPONENTS, WHITENED = 32, 0.5
LEAST_SCALE = 1e-4


@dataclass(frozen=True)
class SpanMetric:
    """Maps from an encoder's vectors to those of `SpanVectors`.

    Attributes
    ----------
    encoder
        Digest of the encoder's weights.
    center, scale
        What vectors are standardised with first: bars of another market or length lie elsewhere.
    weights
        The maps for starts, ends and bars inside.
    """

    encoder: str
    center: Float[np.ndarray, " hidden"]
    scale: Float[np.ndarray, " hidden"]
    weights: Float[np.ndarray, "3 hidden values"]

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what comes out."""
        return digest(_content(self))

    def of(self, vectors: Float[np.ndarray, "bars hidden"]) -> Float[np.ndarray, "3 bars values"]:
        """Return unit vectors as starts, ends and bars inside, in the precision in which they are kept (float16)."""
        known = ((vectors - self.center) / self.scale).astype(np.float32)
        return np.stack([unit(known @ one) for one in self.weights.astype(np.float32)]).astype(np.float16)


def as_span_vectors(kept: Float[np.ndarray, "3 bars values"]) -> SpanVectors:
    """Return vectors as they are kept in the precision in which they are multiplied."""
    return SpanVectors(*(np.asarray(one, dtype=np.float32) for one in kept))


def metric_for(encoder: EncoderFile, sample: Float[np.ndarray, "bars hidden"]) -> SpanMetric:
    """Return the metric of an encoder on bars of which these vectors are a sample, which standardises them.

    The maps are those learned for `base`; for another encoder, principal components of the sample, half whitened.
    """
    center, scale = sample.mean(axis=0, dtype=np.float64), sample.std(axis=0, dtype=np.float64) + LEAST_SCALE
    learned = read_metric(METRIC_FILE)
    mine = weights_digest(encoder.encoder)
    weights = learned.weights if learned.encoder == mine else np.stack([_components((sample - center) / scale)] * 3)
    return SpanMetric(mine, center, scale, weights)


def _components(sample: Float[np.ndarray, "bars hidden"]) -> Float[np.ndarray, "hidden values"]:
    """Return principal components, half whitened, without those that hardly vary."""
    spread, axes = np.linalg.eigh(np.cov(sample.T))
    order = np.argsort(-spread)[:N_COMPONENTS]
    kept = order[spread[order] > LEAST_SCALE * spread[order[0]]]
    return np.asarray(axes[:, kept] / spread[kept] ** (WHITENED / 2))


def _content(metric: SpanMetric) -> dict[str, object]:
    arrays = {name: torch.from_numpy(np.array(getattr(metric, name))) for name in ("center", "scale", "weights")}
    return {"encoder": metric.encoder, **arrays}


def write_metric(path: Path, metric: SpanMetric, record: dict[str, object]) -> bytes:
    """Write a metric with what it was learned from."""
    return write_sealed(path, KIND, {**_content(metric), "record": record})


def read_metric(path: Path) -> SpanMetric:
    """Read a metric file, whole or not at all."""
    content = read_sealed(path, KIND)
    try:
        center, scale, weights = (content[name].numpy() for name in ("center", "scale", "weights"))
        fit = center.shape == scale.shape == weights.shape[1:2] and weights.ndim == 3 and len(weights) == 3
        if not (fit and all(np.isfinite(one).all() for one in (center, scale, weights)) and (scale > 0).all()):
            raise ValueError("maps that cannot be used")
        return SpanMetric(str(content["encoder"]), center, scale, weights)
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise UntrustedFile(
            f"{path} must be an intact moola {KIND} file, but {type(error).__name__}: {error}. Nothing of it was "
            "used. Install moola again."
        ) from error
