"""Encoder and model files: what they hold, and how a whole network comes out of one, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from moola.core.features import FEATURE_NAMES, FEATURE_VERSION, RobustScaler
from moola.core.likeness import Likeness
from moola.errors import InvalidData, TrainingDiverged, UntrustedFile, WrongUsage
from moola.files import sha256_file
from moola.models.network import (
    AS_THEY_ARE,
    ENCODERS,
    MAX_ENCODERS,
    NETWORKS,
    SIDE_BY_SIDE,
    BiLSTMEncoder,
    Encoder,
    EncoderArchitecture,
    EncodersSideBySide,
    EnhancedSimpleLSTM,
    ScaledEncoder,
    build_encoder,
)
from moola.models.presence_file import restored, stored
from moola.models.presence_part import Presence
from moola.models.sealed import digest, read_sealed, write_sealed
from moola.options.option_fields import MAX_HEADS, MAX_HIDDEN, MAX_LAYERS, HeadKind

ENCODER_KIND = "encoder"
MODEL_KIND = "model"
# Shapes alone: what a file declares about its sizes is compared with the weights it has before any memory is taken.
NO_MEMORY = torch.device("meta")
# The encoder inside the package, and the name that means it wherever an encoder is named.
BASE_NAME, BASE_FILE = Path("base"), Path(__file__).with_name("base_encoder.pt")
MAX_CLASSES, MAX_WINDOW_BARS = 1000, 100_000


@dataclass(frozen=True)
class EncoderFile:
    """An encoder ready for use, with its scaler and what it was trained on; or two of them side by side."""

    encoder: Encoder
    scaler: RobustScaler
    window_bars: int
    pretraining: dict[str, Any]
    n_tensors: int


@dataclass(frozen=True)
class ModelFile:
    """A network ready for use, with its classes, calibration and what it was trained on."""

    network: EnhancedSimpleLSTM
    model_name: str
    scaler: RobustScaler
    window_bars: int
    class_names: list[str]
    temperature: float
    pointer_threshold: float | None
    training: dict[str, Any]
    # Class that each class becomes upside down; None where it is not known, and windows are read one way only.
    mirror: list[int] | None = None
    # How much each length of an expansion counts when curves are decoded; None counts all alike.
    length_weight: np.ndarray | None = None
    # First bars of a window that the network reads; None reads all.
    visible_bars: int | None = None
    # Where nothing is; None where the model learned from windows alone.
    presence: Presence | None = None
    # The same from what is known a few bars after each piece, for scans as bars come.
    live_presence: Presence | None = None
    # What the windows that calibrated it were like; None for heads with a hidden layer and files of before.
    likeness: Likeness | None = None

    @property
    def n_seen_bars(self) -> int:
        """Bars of a window that the network reads."""
        return self.window_bars if self.visible_bars is None else self.visible_bars


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights on the CPU, cut loose from training."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def _finite_weights(path: Path, module: nn.Module) -> dict[str, Tensor]:
    weights = weights_of(module)
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise TrainingDiverged(
            f"weights must be finite numbers to be kept, but {len(bad)} of {len(weights)} tensors hold others, first "
            f"{bad[0]}; {path} was not written. Lower --learning-rate."
        )
    return weights


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's weights: equal before and after means frozen."""
    return digest(weights_of(module))


def _shared_content(encoder: Encoder, scaler: RobustScaler, window_bars: int) -> dict[str, Any]:
    return {
        "architecture": encoder.architecture.as_dict(),
        "features": {"names": list(FEATURE_NAMES), "version": FEATURE_VERSION},
        "scaler": {
            "center": torch.from_numpy(scaler.center.copy()),
            "scale": torch.from_numpy(scaler.scale.copy()),
            "clip": float(scaler.clip),
        },
        "window_bars": window_bars,
    }


def write_encoder(
    path: Path, encoder: BiLSTMEncoder, scaler: RobustScaler, window_bars: int, pretraining: dict[str, Any]
) -> bytes:
    """Write an encoder file; `TrainingDiverged` where a weight is not a finite number."""
    content = _shared_content(encoder, scaler, window_bars)
    content |= {"weights": _finite_weights(path, encoder), "pretraining": pretraining}
    return write_sealed(path, ENCODER_KIND, content)


# Encoders as an option names them: one, or two that stand side by side.
NamedEncoders = Path | tuple[Path, ...]


def encoder_path(named: Path) -> Path:
    """Return the file of a named encoder; `base` is the one inside the package."""
    return BASE_FILE if named == BASE_NAME else named


def each_encoder(named: NamedEncoders | None) -> tuple[Path, ...]:
    """Return the encoders that an option names, one by one; none for None.

    Raises
    ------
    WrongUsage
        More than two are named, or one twice.
    """
    each = () if named is None else (named,) if isinstance(named, Path) else tuple(named)
    if len(each) > MAX_ENCODERS or len(set(each)) < len(each):
        raise WrongUsage(
            f"--pretrained-encoder must name one encoder or two different ones, but it names {len(each)}: "
            f"{' '.join(map(str, each))}. Leave one out."
        )
    return each


def recorded_encoders(recorded: Any) -> NamedEncoders | None:
    """Return the encoders that a run's `config.json` names, as its option did."""
    if isinstance(recorded, list):
        return tuple(Path(str(one)) for one in recorded)
    return None if recorded is None else Path(str(recorded))


def named_encoders(named: NamedEncoders | None) -> str:
    """Name encoders for a person; empty for None."""
    return " and ".join(map(str, each_encoder(named)))


def is_as_it_was(named: NamedEncoders | None, expected: str | None) -> bool:
    """Return whether named encoders are there, with the hash that was recorded (`encoder_sha256`)."""
    there = all(encoder_path(one).is_file() for one in each_encoder(named))
    return there and encoder_sha256(named) == expected


def encoder_sha256(named: NamedEncoders | None) -> str | None:
    """Return the hash of a named encoder's file, of two with a + between; None where none is named."""
    return "+".join(sha256_file(encoder_path(one)) for one in each_encoder(named)) or None


def read_encoder(named: NamedEncoders) -> EncoderFile:
    """Read an encoder file, or `base`: all its tensors are taken, or `UntrustedFile` and none.

    Two files become one that has learned from all that either has; it is for windows of the length of those that are
    not `base`, which reads any.

    Raises
    ------
    InvalidData
        Two files are for windows of different lengths.
    """
    each = each_encoder(named)
    if len(each) == 1:
        return _read_encoder(each[0])
    files = [_read_encoder(one) for one in each]
    lengths = {one: file.window_bars for one, file in zip(each, files, strict=True) if one != BASE_NAME}
    if len(set(lengths.values())) > 1:
        lengths_text = ", ".join(f"{one} is for {length}" for one, length in lengths.items())
        raise InvalidData(
            f"two encoders must be for windows of one length, but {lengths_text} bars. Pretrain one of them again with "
            "--window-bars."
        )
    parts = [ScaledEncoder(_single(file.encoder), file.scaler) for file in files]
    return EncoderFile(
        EncodersSideBySide(parts),
        AS_THEY_ARE,
        next(iter(lengths.values())),
        # It has learned nothing itself: what it has seen is what its parts have.
        {"also_learned": [file.pretraining for file in files]},
        sum(file.n_tensors for file in files),
    )


def _single(encoder: Encoder) -> BiLSTMEncoder:
    assert isinstance(encoder, BiLSTMEncoder)
    return encoder


def _read_encoder(named: Path) -> EncoderFile:
    path = encoder_path(named)
    content = read_sealed(path, ENCODER_KIND)
    with _Complete(path, ENCODER_KIND):
        scaler, window_bars = _read_shared(content)
        with NO_MEMORY:
            encoder = _empty_encoder(content["architecture"])
        n_tensors = _take_all(encoder, content["weights"])
        return EncoderFile(encoder, scaler, window_bars, _read_record(content["pretraining"]), n_tensors)


def write_model(path: Path, model: ModelFile) -> bytes:
    """Write a model file; `TrainingDiverged` where a weight is not a finite number."""
    network = model.network
    content = _shared_content(network.encoder, model.scaler, model.window_bars)
    content |= {
        "model": model.model_name,
        "weights": _finite_weights(path, network),
        "class_names": list(model.class_names),
        "predict_pointers": network.predict_pointers,
        "n_heads": len(network.heads),
        "head": network.head_kind,
        "calibration": {"method": "temperature", "temperature": float(model.temperature)},
        "pointer_threshold": model.pointer_threshold,
        "training": model.training,
        "mirror": model.mirror,
        "length_weight": None if model.length_weight is None else torch.from_numpy(model.length_weight.copy()),
        "visible_bars": model.visible_bars,
        "presence": stored(model.presence),
        "live_presence": stored(model.live_presence),
        "likeness": _stored_likeness(model.likeness),
    }
    return write_sealed(path, MODEL_KIND, content)


def read_model(path: Path) -> ModelFile:
    """Read a model file: all its tensors are taken, or `UntrustedFile` and none."""
    content = read_sealed(path, MODEL_KIND)
    with _Complete(path, MODEL_KIND):
        scaler, window_bars = _read_shared(content)
        names = [str(name) for name in content["class_names"]]
        if not 1 <= len(names) <= MAX_CLASSES:
            raise ValueError(f"{len(names)} classes")
        build = NETWORKS[content["model"]]
        n_heads = content["n_heads"]
        if type(n_heads) is not int or not 1 <= n_heads <= MAX_HEADS:
            raise ValueError(f"{n_heads!r} heads")
        with NO_MEMORY:
            encoder = _empty(content["architecture"])
            # Files of before linear heads do not say.
            head_kind = content.get("head", "mlp")
            if head_kind not in get_args(HeadKind):
                raise ValueError(f"heads called {head_kind!r}")
            if head_kind == "linear" and n_heads != 1:
                raise ValueError(f"{n_heads} linear heads, which are one")
            network = build(encoder, len(names), bool(content["predict_pointers"]), 0.0, 0, n_heads, head_kind)
        _take_all(network, content["weights"])
        _require_scalers(network.encoder)
        threshold, temperature = content["pointer_threshold"], content["calibration"]["temperature"]
        if not (0 < temperature < np.inf and (threshold is None or 0 <= threshold <= 1)):
            raise ValueError(f"temperature {temperature} and pointer threshold {threshold}")
        mirror = content["mirror"]
        if mirror is not None and not (isinstance(mirror, list) and sorted(mirror) == list(range(len(names)))):
            raise ValueError(f"a mirror {mirror!r} of {len(names)} classes")
        return ModelFile(
            network.eval(),
            content["model"],
            scaler,
            window_bars,
            names,
            float(temperature),
            None if threshold is None else float(threshold),
            _read_record(content["training"]),
            mirror,
            _read_length_weight(content["length_weight"], window_bars),
            _read_visible_bars(content["visible_bars"], window_bars),
            restored(content.get("presence"), names, mirror is not None, encoder.output_dim),
            _read_live(restored(content.get("live_presence"), names, mirror is not None, encoder.output_dim)),
            _read_likeness(content.get("likeness"), encoder.output_dim),
        )


def _read_live(presence: Presence | None) -> Presence | None:
    if presence is not None and presence.ahead is None:
        raise ValueError("live presence that looks ahead without a limit")
    return presence


def _read_record(stored: Any) -> dict[str, Any]:
    """Take what was recorded of the learning; its times, by which leaks are found, must be two in their order."""
    record = dict(stored)
    for other in record.get("also_learned", []):
        _read_record(other)
    if (span := record.get("time_range")) is not None:
        first, last = (np.datetime64(text.removesuffix("Z"), "us") for text in span)
        if not first <= last:
            raise ValueError(f"times from {first} to {last}")
    return record


def _read_length_weight(stored: Tensor | None, window_bars: int) -> np.ndarray | None:
    if stored is None:
        return None
    weight = np.asarray(stored.numpy(), dtype=np.float64)
    if weight.shape != (window_bars,) or not (np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError("weights of lengths that cannot be used")
    return weight


def _stored_likeness(likeness: Likeness | None) -> dict[str, Any] | None:
    if likeness is None:
        return None
    array = {field.name: torch.from_numpy(np.array(getattr(likeness, field.name))) for field in fields(likeness)}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in array.items()}


def _read_likeness(stored: dict[str, Any] | None, n_hidden: int) -> Likeness | None:
    if stored is None:
        return None
    array = {field.name: stored[field.name].numpy() for field in fields(Likeness)}
    kinds = {name: np.int64 if name == "block" else np.float64 for name in array}
    found = Likeness(**{name: one.astype(kinds[name]) for name, one in array.items()})
    found.check(n_hidden)
    return found


def _read_visible_bars(stored: Any, window_bars: int) -> int | None:
    if stored is not None and not (type(stored) is int and 1 <= stored <= window_bars):
        raise ValueError(f"{stored!r} visible of {window_bars} bars")
    return stored


class _Complete:
    """Turns anything missing or odd inside a sealed content into one refusal."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError | RuntimeError):
            raise UntrustedFile(
                f"{self.path} must be an intact moola {self.kind} file, but {type(error).__name__}: {error}. "
                "Nothing of it was used. Write it again."
            ) from error


def _read_shared(content: dict[str, Any]) -> tuple[RobustScaler, int]:
    features = content["features"]
    if features["names"] != list(FEATURE_NAMES) or features["version"] != FEATURE_VERSION:
        raise ValueError(f"features {features['names']} of version {features['version']}")
    scaler = content["scaler"]
    center, scale = (np.asarray(scaler[key].numpy(), dtype=np.float64) for key in ("center", "scale"))
    shapes_fit = center.shape == scale.shape == (len(FEATURE_NAMES),)
    if not (shapes_fit and np.isfinite([center, scale]).all() and (scale > 0).all() and 0 < scaler["clip"] < np.inf):
        raise ValueError("a scaler that cannot be used")
    window_bars = content["window_bars"]
    if not isinstance(window_bars, int) or not 1 <= window_bars <= MAX_WINDOW_BARS:
        raise ValueError(f"windows of {window_bars!r} bars")
    return RobustScaler(center, scale, float(scaler["clip"])), window_bars


def _empty(stored: dict[str, Any]) -> Encoder:
    """Return an encoder of a model, or two side by side, without weights."""
    if stored.get("name") != SIDE_BY_SIDE:
        return _empty_encoder(stored)
    parts = stored["parts"]
    if len(parts) != MAX_ENCODERS:
        raise ValueError(f"{len(parts)} encoders side by side")
    return EncodersSideBySide([ScaledEncoder(_empty_encoder(part), AS_THEY_ARE) for part in parts])


def _require_scalers(encoder: Encoder) -> None:
    for part in encoder.parts if isinstance(encoder, EncodersSideBySide) else ():
        assert isinstance(part, ScaledEncoder)
        if not ((part.scale > 0).all() and part.clip > 0):
            raise ValueError("a scaler that cannot be used")


def _empty_encoder(stored: dict[str, Any]) -> BiLSTMEncoder:
    architecture = EncoderArchitecture(**stored)
    sizes_fit = (
        architecture.input_dim == len(FEATURE_NAMES)
        and 1 <= architecture.hidden_dim <= MAX_HIDDEN
        and 1 <= architecture.num_layers <= MAX_LAYERS
    )
    if not sizes_fit:
        raise ValueError(f"sizes {stored}")
    if architecture.name not in ENCODERS:
        raise ValueError(f"an encoder called {architecture.name!r}")
    # Building with a seed leaves torch's own generator alone.
    return build_encoder(architecture, 0)


def _take_all(module: nn.Module, weights: dict[str, Tensor]) -> int:
    expected = module.state_dict()
    missing, surplus = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or surplus:
        raise ValueError(f"missing weights {sorted(missing)}, surplus weights {sorted(surplus)}")
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape or tensor.dtype != weights[name].dtype:
            found, due = (f"{tuple(one.shape)} of {one.dtype}" for one in (weights[name], tensor))
            raise ValueError(f"weights {name} of shape {found}, not {due}")
        if not torch.isfinite(weights[name]).all():
            raise ValueError(f"weights {name} are not finite")
    module.load_state_dict(weights, strict=True, assign=True)
    return len(expected)
