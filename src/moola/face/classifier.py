"""moola's network as a scikit-learn classifier of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from moola.config.options import DEFAULT_SEED, DeviceName
from moola.config.train_options import TrainOptions
from moola.data.contracts.prediction_table import Predictions
from moola.data.contracts.window_table import WindowTable
from moola.errors import OperationFailed
from moola.face.given import Times, Windows, table_of
from moola.face.labels import with_labels
from moola.face.model import Model
from moola.files import sha256_file
from moola.models.files import read_encoder
from moola.pipeline.fit.fitting import fit_material
from moola.pipeline.fit.material import material_of
from moola.pipeline.fit.resolving import resolve_options
from moola.pipeline.tables import divide
from moola.training.device import prepare_device

OWN = ("encoder", "val_fraction")
IN_MEMORY = Path("X")


class WindowClassifier(ClassifierMixin, BaseEstimator):
    """The network of `moola train` on windows in memory, to fit, predict and cross-validate with scikit-learn.

    Every parameter but the first and `val_fraction` is the option of `moola train` of that name, with its default.

    Parameters
    ----------
    encoder
        Encoder file of `moola pretrain-bilstm` to start from; without one the encoder starts from scratch. What it was
        pretrained on it has seen: under cross-validation it must come from bars that end before the first test block,
        or figures are too good. `fit` sees only the rows it is given and can warn of those alone.
    freeze_encoder
        Train the heads alone. On by default with an encoder file, off without.
    hidden_dim, num_layers
        Sizes of the encoder: 64 and 1 from scratch, the encoder file's with one.
    n_heads
        Heads on one encoder, trained side by side and averaged.
    epochs
        Passes over the training windows; the best by validation loss is kept.
    batch_size
        Windows a step.
    learning_rate
        Peak learning rate of the heads.
    dropout
        Share of values dropped in the heads while training.
    pointer_weight
        Weight of the pointer loss beside the class loss.
    augment_data
        Add synthetic windows made from training rows; on where `X` carries prices and a class mirrors by itself.
    mirror_classes
        How the price mirror treats classes: `same`, or swaps such as `bull:bear`.
    visible_bars
        Show the network these first bars of a window alone. Left out, it sees all of them, those after the expansion
        too: what it says of a window is known when the window ends, not before.
    refit
        Once the epoch is chosen, train anew on all rows. On where the encoder is frozen.
    val_fraction
        Share of the rows, the latest, that chooses the epoch, the temperature and the pointer threshold.
    seed
        Seed of everything random.
    device
        cuda, cpu, or auto for a GPU where there is one.
    threads
        CPU threads for this whole process, 0 for one a core; results depend on it in the last bits.

    Attributes
    ----------
    classes_ : numpy.ndarray
        Classes, sorted: the columns of `predict_proba`.
    model_ : Model
        The fitted model; `model_.save(path)` writes the file that every command takes. Pickling works as for any
        estimator, and reading a pickle runs what it holds: keep models as model files.

    Examples
    --------
    >>> import moola
    >>> from sklearn.model_selection import cross_val_score
    >>> windows = moola.autolabel(moola.windows(moola.sample_bars(), stride=25))
    >>> small = moola.WindowClassifier(hidden_dim=4, n_heads=1, epochs=1, device="cpu")
    >>> small.fit(windows, windows["label"]).predict_proba(windows[:3]).shape
    (3, 2)
    >>> small.predict_pointers(windows[:3]).shape
    (3, 2)
    >>> X, y = moola.relative_features(windows), windows["label"].to_numpy()
    >>> times = windows.select("start_ts", "end_ts").to_numpy()
    >>> cross_val_score(small, X, y, groups=times, cv=moola.ForwardChaining(2), scoring="neg_log_loss").shape
    (2,)
    """

    def __init__(
        self,
        *,
        encoder: Path | str | None = None,
        freeze_encoder: bool | None = None,
        hidden_dim: int | None = None,
        num_layers: int | None = None,
        n_heads: int = 3,
        epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        dropout: float = 0.3,
        pointer_weight: float = 8.0,
        augment_data: bool | None = None,
        mirror_classes: tuple[str, ...] = (),
        visible_bars: int | None = None,
        refit: bool | None = None,
        val_fraction: float = 0.2,
        seed: int = DEFAULT_SEED,
        device: DeviceName = "auto",
        threads: int = 1,
    ) -> None:
        self.encoder = encoder
        self.freeze_encoder = freeze_encoder
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.n_heads = n_heads
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.pointer_weight = pointer_weight
        self.augment_data = augment_data
        self.mirror_classes = mirror_classes
        self.visible_bars = visible_bars
        self.refit = refit
        self.val_fraction = val_fraction
        self.seed = seed
        self.device = device
        self.threads = threads

    def fit(
        self,
        X: Windows,
        y: ArrayLike,
        *,
        pointers: ArrayLike | None = None,
        times: Times | None = None,
    ) -> WindowClassifier:
        """Train on windows, as `moola train` does on a file.

        Parameters
        ----------
        X
            Window table, or an array of prices `(windows, bars, 4)` or features `(windows, bars, 11)`, earliest first.
        y
            Class of each window.
        pointers
            First and last bar of each expansion `(windows, 2)`, -1 where there is none. Left out, those of a window
            table; without any the model does not point.
        times
            Times of each window's first and last bar. Left out, those of a window table; without any, the rows that
            choose the epoch are the last ones and may share bars with those before, which makes probabilities too sure.

        Raises
        ------
        InvalidData
            Windows or labels break a rule, or there are too few of them.
        """
        table, self.classes_ = with_labels(table_of(X, times), y, pointers)
        device = prepare_device(self.device, self.threads)
        encoder = read_encoder(Path(self.encoder)) if self.encoder is not None else None
        split, _ = divide(table, self.val_fraction, 0.0, None)
        hashes = {
            "data_sha256": None,
            "split_sha256": None,
            "encoder_sha256": sha256_file(Path(self.encoder)) if self.encoder is not None else None,
        }
        table = table.with_features()
        proved = True if table.start_us is not None else None
        material = material_of(table, split, "in memory", encoder, hashes, proved, IN_MEMORY)
        options = resolve_options(self._options(table), table, split, encoder)
        fitted = fit_material(options, material, device, None, {}, lambda _row: None)
        self.model_ = Model(fitted.model, "the model", self.device, self.threads)
        return self

    def _options(self, table: WindowTable) -> TrainOptions:
        chosen = {name: value for name, value in self.get_params(deep=False).items() if name not in OWN}
        # Nobody judges val rows here, so the fit may have them as soon as it is chosen.
        if self.refit is None:
            chosen["refit"] = self.encoder is not None and self.freeze_encoder is not False
        encoder = None if self.encoder is None else Path(self.encoder)
        return TrainOptions(
            data=IN_MEMORY, split=IN_MEMORY, pretrained_encoder=encoder, window_bars=table.window_bars, **chosen
        )

    def predict_proba(self, X: Windows) -> Float[np.ndarray, "windows classes"]:
        """Return calibrated probabilities, a column a class of `classes_`."""
        predictions = self._predictions(X)
        columns = [predictions.class_names.index(str(name)) for name in self.classes_]
        prob: np.ndarray = predictions.class_prob[:, columns]
        return prob

    def predict(self, X: Windows) -> Shaped[np.ndarray, " windows"]:
        """Return the most probable class of each window."""
        most = self.predict_proba(X).argmax(axis=1)
        labels: np.ndarray = self.classes_[most]
        return labels

    def predict_pointers(self, X: Windows) -> Int[np.ndarray, "windows 2"]:
        """Return the first and last bar of each window's expansion, both inclusive.

        Raises
        ------
        OperationFailed
            The model was fitted without pointers.
        """
        predictions = self._predictions(X)
        if not self.model_.file.network.predict_pointers:
            raise OperationFailed(
                "pointers must have been learned, but the model was fitted with 0 of them. Fit it with pointers=."
            )
        return predictions.predicted_bar

    def _predictions(self, X: Windows) -> Predictions:
        if not hasattr(self, "model_"):
            raise OperationFailed("a classifier must be fitted before it predicts, but it is not. Call fit(X, y).")
        return self.model_.predictions(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags
