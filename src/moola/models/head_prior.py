"""What weights of linear heads are usually like on an encoder, so that few labels suffice.

Heads that were fitted to random definitions of moves (never to a rule that labels) differ from each other in few of all
directions that weights could take. The penalty of new heads is small along these and large across them: a normal prior
with the covariance of those weights, in part, in place of one that is the same in every direction. (Empirical Bayes;
learned for `base` by scripts/base/make_head_prior.py.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from moola.errors import UntrustedFile
from moola.models.heads import POINTERS
from moola.models.model_files import weights_digest
from moola.models.network import Encoder, EncodersSideBySide, ScaledEncoder
from moola.models.sealed import read_sealed, write_sealed

KIND = "head prior"
PRIOR_FILE = Path(__file__).with_name("base_head_prior.pt")
# How much of the covariance stays the same in every direction: what people mark may be unlike any random definition.
POINTER_SHARE, CLASS_SHARE = 0.7, 0.3
Factor = Float[np.ndarray, "values directions"]


@dataclass(frozen=True)
class HeadPrior:
    """Covariances of the weights of linear heads, each as a factor F with covariance F F', in raw units of vectors.

    Attributes
    ----------
    encoder
        Digest of the encoder's weights.
    pointers
        For the start and for the end.
    classes
        For a class, on a window's vector under the start curve, under the end curve and their mean. Values that nothing
        is known of have rows of zeros.
    """

    encoder: str
    pointers: tuple[Factor, Factor]
    classes: Factor

    def pointer_root(self, number: int, scale: Float[np.ndarray, " values"]) -> Float[np.ndarray, "values values"]:
        """Return a root of the covariance of a pointer's weights on vectors divided by `scale`."""
        return _root(self.pointers[number], scale, POINTER_SHARE)

    def class_root(self, scale: Float[np.ndarray, " values"]) -> Float[np.ndarray, "values values"]:
        """Return a root of the covariance of a class's weights on pooled vectors divided by `scale`."""
        return _root(self.classes, scale, CLASS_SHARE)

    def placed(self, first: int, n_values: int) -> HeadPrior:
        """Return the prior for vectors of `n_values` in which those of its encoder begin at `first`."""
        return HeadPrior(
            self.encoder,
            (_placed(self.pointers[0], first, n_values), _placed(self.pointers[1], first, n_values)),
            np.concatenate([_placed(part, first, n_values) for part in np.split(self.classes, 1 + len(POINTERS))]),
        )


def _placed(factor: Factor, first: int, n_values: int) -> Factor:
    return np.pad(factor, ((first, n_values - first - len(factor)), (0, 0)))


def _root(factor: Factor, scale: np.ndarray, same_share: float) -> Float[np.ndarray, "values values"]:
    """Return the symmetric root of `same_share` I + (1 - `same_share`) C, C scaled to a mean variance of 1."""
    factor = factor * scale[:, None]
    known = (factor != 0).any(axis=1)
    axes, size, _ = np.linalg.svd(factor, full_matrices=False)
    variance = size**2 * known.sum() / (size**2).sum()
    same = np.sqrt(same_share)
    root = (axes * (np.sqrt(same_share + (1 - same_share) * variance) - same)) @ axes.T
    root[np.diag_indices_from(root)] += np.where(known, same, 1.0)
    return np.asarray(root)


def prior_of(encoder: Encoder) -> HeadPrior | None:
    """Return what is known of heads on an encoder: on `base`, alone or beside another, the prior inside the package."""
    if not isinstance(encoder, EncodersSideBySide):
        shipped = _shipped()
        return shipped if shipped.encoder == weights_digest(encoder) else None
    first = 0
    for part in encoder.parts:
        assert isinstance(part, ScaledEncoder)
        if (prior := prior_of(part.encoder)) is not None:
            return prior.placed(first, encoder.output_dim)
        first += part.encoder.output_dim
    return None


@cache
def _shipped() -> HeadPrior:
    return read_prior(PRIOR_FILE)


def write_prior(path: Path, prior: HeadPrior, record: dict[str, object]) -> bytes:
    """Write a prior with what it was learned from."""
    factors = {"start": prior.pointers[0], "end": prior.pointers[1], "classes": prior.classes}
    kept = {name: torch.from_numpy(np.array(one, dtype=np.float32)) for name, one in factors.items()}
    return write_sealed(path, KIND, {"encoder": prior.encoder, **kept, "record": record})


def read_prior(path: Path) -> HeadPrior:
    """Read a prior's file, whole or not at all."""
    content = read_sealed(path, KIND)
    try:
        start, end, classes = (content[name].numpy().astype(np.float64) for name in ("start", "end", "classes"))
        fit = start.ndim == end.ndim == classes.ndim == 2 and len(start) == len(end)
        fit = fit and len(classes) == (1 + len(POINTERS)) * len(start)
        if not (fit and all(np.isfinite(one).all() and one.any() for one in (start, end, classes))):
            raise ValueError("factors that cannot be used")
        return HeadPrior(str(content["encoder"]), (start, end), classes)
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise UntrustedFile(
            f"{path} must be an intact moola {KIND} file, but {type(error).__name__}: {error}. Nothing of it was "
            "used. Install moola again."
        ) from error
