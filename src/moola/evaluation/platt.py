"""Calibrators of class probabilities, chosen by name: a temperature, or Platt's slope and intercept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from moola.errors import WrongUsage
from moola.evaluation.calibration import calibrated, fit_temperature

Logits = Float[np.ndarray, "windows classes"]
Classes = Int[np.ndarray, " windows"]
LOWEST_PROB = 1e-12


def logits_of(class_prob: Float[np.ndarray, "windows classes"]) -> Logits:
    """Turn probabilities back into logits (their logarithm), where a table kept only probabilities.

    Probabilities below 1e-12 count as 1e-12, so that every logit is finite.
    """
    return np.log(np.maximum(class_prob, LOWEST_PROB))


def fit_platt(logit_difference: Float[np.ndarray, " windows"], class_index: Classes) -> tuple[float, float]:
    """Fit Platt's sigmoid: P(second class) = 1 / (1 + exp(-(slope * difference + intercept))).

    The targets are smoothed as Platt (1999, "Probabilistic outputs for support vector machines")
    proposes, t = (n1 + 1) / (n1 + 2) for the second class and 1 / (n0 + 2) for the first, so that a
    handful of windows that are all right do not make the model certain. Log-loss with these targets is
    convex; its one minimum is found by Newton steps in a trust region.

    Parameters
    ----------
    logit_difference
        Logit of the second class less that of the first; any real number.
    class_index
        True class, 0 or 1. Windows without a label (-1) are left out.

    Returns
    -------
    tuple
        Slope and intercept. (1, 0), which changes nothing, without windows; slope 0 where all
        differences are equal. A negative slope says that the logits rank these windows backwards.
    """
    known = class_index >= 0
    difference, second = np.asarray(logit_difference, dtype=np.float64)[known], class_index[known] == 1
    if not len(difference):
        return 1.0, 0.0
    n_second = int(second.sum())
    n_first = len(second) - n_second
    target = np.where(second, (n_second + 1) / (n_second + 2), 1 / (n_first + 2))
    # The fit runs on differences of mean 0 and deviation 1, so that it does not depend on their scale.
    centre, spread = float(difference.mean()), float(difference.std())
    is_flat = spread <= 1e-12 * max(1.0, abs(centre))
    inputs = np.stack([(difference - centre) / (1.0 if is_flat else spread), np.ones(len(difference))], axis=1)
    if is_flat:
        inputs[:, 0] = 0.0
    slope, intercept = _logistic_minimum(inputs, target)
    if is_flat:
        return 0.0, intercept
    return slope / spread, intercept - slope * centre / spread


def _logistic_minimum(
    inputs: Float[np.ndarray, "windows 2"], target: Float[np.ndarray, " windows"]
) -> tuple[float, float]:
    """Minimise the mean log-loss of smoothed targets over two coefficients."""
    n = len(target)

    def loss(coefficients: np.ndarray) -> float:
        z = inputs @ coefficients
        return float((np.logaddexp(0.0, z) - target * z).mean())

    def gradient(coefficients: np.ndarray) -> np.ndarray:
        return np.asarray(inputs.T @ (expit(inputs @ coefficients) - target) / n)

    def curvature(coefficients: np.ndarray) -> np.ndarray:
        prob = expit(inputs @ coefficients)
        return np.asarray((inputs.T * (prob * (1 - prob))) @ inputs / n)

    best = minimize(
        loss, np.zeros(2), method="trust-exact", jac=gradient, hess=curvature, options={"gtol": 1e-9, "maxiter": 500}
    )
    return float(best.x[0]), float(best.x[1])


@dataclass(frozen=True)
class Calibrator:
    """A fitted calibration as plain values, so that a file can hold it.

    Attributes
    ----------
    method
        `temperature` or `platt`.
    parameters
        (temperature,), or (slope, intercept) of the logit difference of two classes.
    """

    method: str
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        _known(self.method)

    def apply(self, logits: Logits) -> Float[np.ndarray, "windows classes"]:
        """Turn raw logits into calibrated probabilities, each row with sum 1."""
        if self.method == "temperature":
            return calibrated(logits, self.parameters[0])
        slope, intercept = self.parameters
        z = slope * _difference(logits) + intercept
        return np.stack([expit(-z), expit(z)], axis=1)


def _difference(logits: Logits) -> Float[np.ndarray, " windows"]:
    return np.asarray(logits[:, 1] - logits[:, 0])


def temperature_calibrator(logits: Logits, class_index: Classes) -> Calibrator:
    """Fit one temperature (Guo et al., ICML 2017); windows without a label (-1) are left out."""
    known = class_index >= 0
    return Calibrator("temperature", (fit_temperature(logits[known], class_index[known]),))


def platt_calibrator(logits: Logits, class_index: Classes) -> Calibrator:
    """Fit Platt's slope and intercept; a temperature where there are not two classes.

    More than two classes would need a slope and an intercept each (vector scaling), which some hundred
    windows do not settle. The calibrator's method then says `temperature`.
    """
    if logits.shape[1] != 2:
        return temperature_calibrator(logits, class_index)
    return Calibrator("platt", fit_platt(_difference(logits), class_index))


CALIBRATORS: dict[str, Callable[[Logits, Classes], Calibrator]] = {
    "temperature": temperature_calibrator,
    "platt": platt_calibrator,
}


def _known(method: str) -> None:
    if method not in CALIBRATORS:
        names = ", ".join(CALIBRATORS)
        raise WrongUsage(f"The calibration must be one of {names}, but it is {method!r}. Choose one of these.")


def fit_calibrator(method: str, logits: Logits, class_index: Classes) -> Calibrator:
    """Fit the calibration of this name; raises `WrongUsage` for an unknown one."""
    _known(method)
    return CALIBRATORS[method](logits, class_index)
