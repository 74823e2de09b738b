"""The robust scaler between features (returns of some 1e-4, z-scores of some 1) and networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CLIP = 8.0
# Interquartile range of a standard normal variable: dividing by it gives a spread of about 1.
NORMAL_IQR = 1.3489795


@dataclass(frozen=True)
class RobustScaler:
    """Median and normal-consistent interquartile range of each feature, of training rows alone."""

    center: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    clip: float = CLIP

    @classmethod
    def fit(cls, features: Float[np.ndarray, "windows bars features"]) -> RobustScaler:
        """Fit on training windows; a feature that never varies is centred and not divided.

        The first bar of a window is left out: its returns and z-scores are 0 by definition.
        """
        rows = features[:, 1:].reshape(-1, features.shape[-1])
        low, center, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
        spread = (high - low) / NORMAL_IQR
        fallback = rows.std(axis=0)
        scale = np.where(spread > 0, spread, np.where(fallback > 0, fallback, 1.0))
        return cls(center, scale)

    def transform(
        self, features: Float[np.ndarray, "windows bars features"]
    ) -> Float[np.ndarray, "windows bars features"]:
        """Scale and clip, as float32: what networks see."""
        scaled = (features - self.center) / self.scale
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)
