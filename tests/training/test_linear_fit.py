"""Linear heads: their optimum against scipy and scikit-learn, and what must not change it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from moola.core.expansions import NO_POINTER, soft_curve
from moola.core.splits import Intervals
from moola.errors import InvalidData
from moola.models.head_prior import CLASS_SHARE, POINTER_SHARE, HeadPrior
from moola.models.heads import LinearHeads
from moola.models.network import EncoderArchitecture, EnhancedSimpleLSTM, build_encoder
from moola.training.finetune import run_network
from moola.training.linear_fit import (
    LEAST_SHARE,
    MEAN_SHARE,
    EncodedWindows,
    LinearFit,
    LinearPlan,
    fit_linear_heads,
    time_blocks,
)

N_BARS, DIM = 21, 6
ONE_PENALTY = LinearPlan(pointer_penalties=(0.02,), class_penalties=(0.1,), n_blocks=4)


def made(
    n: int = 60, n_classes: int = 2, seed: int = 0, mirrored: bool = True, class_mirror: list[int] | None = None
) -> EncodedWindows:
    """Vectors in which value 0 rises at the start, value 1 at the end, and value 2 near both tells the class."""
    rng = np.random.default_rng(seed)
    class_index = np.arange(n) % n_classes
    start = rng.integers(3, 10, n)
    end = start + rng.integers(2, 8, n)
    vectors = []
    for turned in (False, True) if mirrored else (False,):
        shown = class_index if not turned or class_mirror is None else np.array(class_mirror)[class_index]
        encoded = 0.5 * rng.normal(size=(n, N_BARS, DIM))
        rows = np.arange(n)
        encoded[rows, start, 0] += 4
        encoded[rows, end, 1] += 4
        # Vectors of neighbouring bars are alike, as an encoder's are.
        for apart in range(-2, 3):
            encoded[rows, start + apart, 2] += 2 * shown
            encoded[rows, end + apart, 3] += shown == 1
        vectors.append(encoded.astype(np.float32))
    start_us = np.arange(n) * 7
    swap = list(range(n_classes)) if mirrored and class_mirror is None else class_mirror
    return EncodedWindows(
        vectors[0],
        vectors[1] if mirrored else None,
        class_index,
        np.stack([start, end], axis=1),
        Intervals(start_us, start_us + 10, np.arange(n)),
        swap,
    )


def read(heads: LinearHeads, windows: EncodedWindows) -> tuple[np.ndarray, np.ndarray]:
    """Class logits and pointer curves, as they are read."""
    encoded = torch.from_numpy(windows.encoded)
    with torch.no_grad():
        if windows.mirrored is None:
            outputs = heads(encoded)
        else:
            assert windows.class_mirror is not None
            outputs = heads.both_ways(encoded, torch.from_numpy(windows.mirrored), windows.class_mirror)
    assert outputs.pointer_logits is not None
    return outputs.class_logits.double().numpy(), torch.softmax(outputs.pointer_logits.double(), dim=1).numpy()


def bytes_of(heads: LinearHeads) -> bytes:
    """All weights as bytes."""
    return b"".join(tensor.numpy().tobytes() for tensor in heads.state_dict().values())


def slow_pointer(
    vectors: np.ndarray, target: np.ndarray, penalty: float, covariance: np.ndarray | None = None
) -> np.ndarray:
    """The equation of the module's page, one window after the other, minimised by scipy."""
    metric = np.eye(vectors.shape[2]) if covariance is None else np.linalg.inv(covariance)

    def loss(weights: np.ndarray) -> float:
        total = 0.0
        for window, curve in zip(vectors, target, strict=True):
            scores = window @ weights
            total -= float((curve * (scores - np.log(np.exp(scores).sum()))).sum())
        return total / len(vectors) + penalty / 2 * float(weights @ metric @ weights)

    return np.asarray(minimize(loss, np.zeros(vectors.shape[2]), method="BFGS", options={"gtol": 1e-7}).x)


def standardised(encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of mean 0 and deviation 1 over all bars, and the deviations."""
    flat = encoded.reshape(-1, encoded.shape[2]).astype(np.float64)
    spread = flat.std(axis=0)
    scale = np.maximum(spread, LEAST_SHARE * np.median(spread))
    return (encoded - flat.mean(axis=0)) / scale, scale


@pytest.mark.parametrize("mirrored", [False, True])
def test_pointers_are_at_the_optimum_of_their_equation(mirrored: bool) -> None:
    windows = made(24, mirrored=mirrored)
    heads, _ = fit_linear_heads(windows, 2, ONE_PENALTY)
    encoded = windows.encoded if windows.mirrored is None else (windows.encoded + windows.mirrored) / 2
    vectors, scale = standardised(encoded)
    assert heads.pointer_head is not None
    for number in (0, 1):
        slow = slow_pointer(vectors, soft_curve(windows.pointers[:, number], N_BARS, LinearPlan().sigma_bars), 0.02)
        fitted = heads.pointer_head.weight.detach().numpy()[number] * scale
        np.testing.assert_allclose(fitted, slow, atol=2e-5)


def made_prior(seed: int = 0) -> HeadPrior:
    """Directions that know nothing of the data."""
    rng = np.random.default_rng(seed)
    return HeadPrior("none", (rng.normal(size=(DIM, 2)), rng.normal(size=(DIM, 3))), rng.normal(size=(3 * DIM, 4)))


def mixed_covariance(factor: np.ndarray, scale: np.ndarray, same_share: float) -> np.ndarray:
    """The covariance of the module's page, in units of standardised vectors."""
    known = (factor * scale[:, None]) @ (factor * scale[:, None]).T
    mixed = same_share * np.eye(len(scale)) + (1 - same_share) * known * len(scale) / np.trace(known)
    return np.asarray(mixed)


def test_with_a_prior_the_penalty_is_measured_by_its_covariance() -> None:
    windows, prior = made(24, mirrored=False), made_prior()
    heads, fit = fit_linear_heads(replace(windows, prior=prior), 2, ONE_PENALTY)
    vectors, scale = standardised(windows.encoded)
    assert heads.pointer_head is not None
    for number in (0, 1):
        target = soft_curve(windows.pointers[:, number], N_BARS, LinearPlan().sigma_bars)
        covariance = mixed_covariance(prior.pointers[number], scale, POINTER_SHARE)
        fitted = heads.pointer_head.weight.detach().numpy()[number] * scale
        np.testing.assert_allclose(fitted, slow_pointer(vectors, target, 0.02, covariance), atol=5e-5)
    assert fit.out_of_fold_curves is not None
    inputs, center, scale = pooled_inputs(windows, fit)
    root = np.linalg.cholesky(mixed_covariance(prior.classes, scale, CLASS_SHARE))
    peer = LogisticRegression(C=2 / (len(windows) * 0.1), tol=1e-10, max_iter=10_000)
    peer.fit((inputs - center) / scale @ root, windows.class_index)
    raw = inputs @ heads.class_head.weight.detach().numpy().T + heads.class_head.bias.detach().numpy()
    prob = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prob, peer.predict_proba((inputs - center) / scale @ root), atol=2e-5)


def test_a_prior_that_knows_the_direction_makes_few_labels_enough() -> None:
    rng = np.random.default_rng(5)
    noise = [0.5 * rng.normal(size=(n, N_BARS, 200)) for n in (12, 300)]
    few, unseen = (
        replace(one, encoded=np.concatenate([one.encoded, more.astype(np.float32)], axis=2))
        for one, more in zip((made(12, 2, 1, mirrored=False), made(300, 2, 2, mirrored=False)), noise, strict=True)
    )
    factor = np.eye(DIM + 200)[:, :DIM]
    right = HeadPrior("none", (factor, factor), np.concatenate([factor] * 3))
    found = [read(fit_linear_heads(replace(few, prior=prior), 2)[0], unseen) for prior in (None, right)]
    hits = [(np.abs(curves.argmax(axis=1) - unseen.pointers) <= 1).mean() for _, curves in found]
    accuracy = [(logits.argmax(axis=1) == unseen.class_index).mean() for logits, _ in found]
    assert hits[1] > hits[0] + 0.02
    assert accuracy[1] > accuracy[0] + 0.1


def test_a_value_that_hardly_varies_is_not_blown_up() -> None:
    windows = made(40, mirrored=False)
    rng = np.random.default_rng(1)
    flat = 1e-3 * rng.normal(size=(40, N_BARS, 1)) + 1e-3 * windows.class_index[:, None, None]
    still = replace(windows, encoded=np.concatenate([windows.encoded, flat.astype(np.float32)], axis=2))
    heads, _ = fit_linear_heads(still, 2)
    # Elsewhere it is another: as large as all others are.
    moved = replace(still, encoded=still.encoded.copy())
    moved.encoded[..., -1] += 0.5
    logits, curves = read(heads, moved)
    before, curves_before = read(heads, still)
    np.testing.assert_allclose(logits, before, atol=0.3)
    np.testing.assert_allclose(curves, curves_before, atol=1e-3)


def pooled_inputs(windows: EncodedWindows, fit: LinearFit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the class learns from, with the centre and the deviation of each value."""
    assert fit.out_of_fold_curves is not None
    true = np.stack([soft_curve(bars, N_BARS, 1.5) for bars in windows.pointers.T], axis=-1)
    curves = (true + fit.out_of_fold_curves) / 2
    pooled = [(windows.encoded * curves[..., [number]]).sum(axis=1) for number in (0, 1)]
    inputs = np.concatenate([*pooled, windows.encoded.mean(axis=1)], axis=1)
    spread = inputs.std(axis=0)
    scale = np.maximum(spread, LEAST_SHARE * np.median(spread))
    scale[-DIM:] /= MEAN_SHARE
    return inputs, inputs.mean(axis=0), scale


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_class_is_a_logistic_regression_on_vectors_under_half_true_curves(n_classes: int) -> None:
    windows = made(60, n_classes, mirrored=False)
    heads, fit = fit_linear_heads(windows, n_classes, ONE_PENALTY)
    inputs, center, scale = pooled_inputs(windows, fit)
    # Two classes have one vector of weights there and two here, so that the penalty counts half.
    strength = (2 if n_classes == 2 else 1) / (len(windows) * 0.1)
    peer = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
    peer.fit((inputs - center) / scale, windows.class_index)
    raw = inputs @ heads.class_head.weight.detach().numpy().T + heads.class_head.bias.detach().numpy()
    prob = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prob, peer.predict_proba((inputs - center) / scale), atol=2e-5)


@pytest.mark.parametrize("class_mirror", [[0, 1], [1, 0]])
def test_the_same_windows_in_any_order_give_the_same_bytes(class_mirror: list[int]) -> None:
    windows = made(class_mirror=class_mirror)
    rows = np.random.default_rng(3).permutation(len(windows))
    heads, fit = fit_linear_heads(windows, 2)
    again, _ = fit_linear_heads(windows, 2)
    other, moved = fit_linear_heads(windows.take(rows), 2)
    assert bytes_of(heads) == bytes_of(again) == bytes_of(other)
    np.testing.assert_array_equal(fit.out_of_fold_logits[rows], moved.out_of_fold_logits)
    assert fit.out_of_fold_curves is not None
    assert moved.out_of_fold_curves is not None
    np.testing.assert_array_equal(fit.out_of_fold_curves[rows], moved.out_of_fold_curves)


@settings(max_examples=5)
@given(st.floats(0.01, 100), st.floats(-3, 3))
def test_units_of_the_vectors_do_not_matter(factor: float, shift: float) -> None:
    windows = made(24)
    assert windows.mirrored is not None
    other = replace(
        windows,
        encoded=(windows.encoded * factor + shift).astype(np.float32),
        mirrored=(windows.mirrored * factor + shift).astype(np.float32),
    )
    logits, curves = read(fit_linear_heads(windows, 2, ONE_PENALTY)[0], windows)
    other_logits, other_curves = read(fit_linear_heads(other, 2, ONE_PENALTY)[0], other)
    np.testing.assert_allclose(other_logits, logits, atol=0.02)
    np.testing.assert_allclose(other_curves, curves, atol=5e-3)


@pytest.mark.parametrize(("n_classes", "class_mirror"), [(2, None), (2, [1, 0]), (3, None), (3, [0, 2, 1])])
def test_a_planted_pattern_is_found_in_windows_never_seen(n_classes: int, class_mirror: list[int] | None) -> None:
    heads, fit = fit_linear_heads(made(80, n_classes, 1, class_mirror=class_mirror), n_classes)
    unseen = made(80, n_classes, 2, class_mirror=class_mirror)
    logits, curves = read(heads, unseen)
    assert (logits.argmax(axis=1) == unseen.class_index).mean() > 0.9
    assert (np.abs(curves.argmax(axis=1) - unseen.pointers) <= 1).mean() > 0.9
    assert fit.judged.all()
    assert (fit.out_of_fold_logits.argmax(axis=1) == made(80, n_classes, 1).class_index).mean() > 0.85


@given(st.integers(0, 1000), st.sampled_from([[0, 1], [1, 0]]))
def test_a_window_and_its_mirror_are_told_the_same(seed: int, class_mirror: list[int]) -> None:
    heads = LinearHeads(DIM, 2, predict_pointers=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in heads.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator))
    one, other = torch.randn(2, 5, N_BARS, DIM, generator=generator)
    upright, turned = heads.both_ways(one, other, class_mirror), heads.both_ways(other, one, class_mirror)
    torch.testing.assert_close(upright.pointer_logits, turned.pointer_logits)
    torch.testing.assert_close(upright.class_logits, turned.class_logits[:, class_mirror])


def test_a_block_of_time_is_judged_by_a_fit_that_did_not_see_it() -> None:
    windows = made(40)
    _, before = fit_linear_heads(windows, 2, ONE_PENALTY)
    block = time_blocks(windows.intervals, 4)[1][1]
    changed = replace(
        windows, class_index=windows.class_index.copy(), pointers=windows.pointers.copy(), encoded=windows.encoded
    )
    changed.class_index[block] = 1 - changed.class_index[block]
    changed.pointers[block] += 1
    _, after = fit_linear_heads(changed, 2, ONE_PENALTY)
    assert before.out_of_fold_curves is not None
    assert after.out_of_fold_curves is not None
    # Only the first steps towards the optimum saw the block's pointers.
    np.testing.assert_allclose(after.out_of_fold_curves[block], before.out_of_fold_curves[block], atol=2e-3)
    rest = np.setdiff1d(np.arange(40), block)
    assert np.abs(after.out_of_fold_curves[rest] - before.out_of_fold_curves[rest]).max() > 0.01
    assert np.abs(after.out_of_fold_logits[rest] - before.out_of_fold_logits[rest]).max() > 0.05


@given(st.lists(st.integers(0, 60), min_size=1, max_size=30), st.integers(2, 6), st.integers(1, 15))
def test_blocks_share_no_bar_with_what_they_are_judged_by(first: list[int], n_blocks: int, length: int) -> None:
    start = np.array(first, dtype=np.int64)
    folds = time_blocks(Intervals(start, start + length, np.arange(len(start))), n_blocks)
    judged = [row for _, block in folds for row in block.tolist()]
    assert len(judged) == len(set(judged))
    for rest, block in folds:
        apart = np.abs(start[rest][:, None] - start[block][None, :]) >= length
        assert apart.all()
        # None is left out that need not be.
        others = np.setdiff1d(np.arange(len(start)), np.concatenate([rest, block]))
        assert all((np.abs(start[row] - start[block]) < length).any() for row in others)


def test_windows_without_times_keep_equal_bars_together() -> None:
    folds = time_blocks(Intervals(None, None, np.array([0, 1, 1, 2, 3, 3])), 3)
    assert [(rest.tolist(), block.tolist()) for rest, block in folds] == [
        ([3, 4, 5], [0, 1]),
        ([0, 4, 5], [2, 3]),
        ([0, 1, 2, 3], [4, 5]),
    ]
    windows = made(30)
    heads, fit = fit_linear_heads(replace(windows, intervals=Intervals(None, None, np.arange(30))), 2)
    assert fit.judged.all()
    assert np.isfinite(read(heads, windows)[0]).all()


def test_a_window_without_an_expansion_counts_for_the_class_alone() -> None:
    windows = made(60, 3)
    background = windows.class_index == 2
    windows.pointers[background] = NO_POINTER
    heads, fit = fit_linear_heads(windows, 3, ONE_PENALTY)
    pointing = replace(windows.take(np.flatnonzero(~background)), class_mirror=[0, 1])
    without, _ = fit_linear_heads(pointing, 2, replace(ONE_PENALTY, n_blocks=2))
    assert fit.out_of_fold_curves is not None
    np.testing.assert_allclose(fit.out_of_fold_curves.sum(axis=1), 1.0)
    # Their vectors standardise the others', and that is all.
    np.testing.assert_allclose(weights_in_units(heads, windows), weights_in_units(without, windows), atol=0.15)
    assert (read(heads, made(60, 3, 5))[0].argmax(axis=1) == np.arange(60) % 3).mean() > 0.8


def weights_in_units(heads: LinearHeads, windows: EncodedWindows) -> np.ndarray:
    """Pointer weights per deviation of the vectors."""
    assert heads.pointer_head is not None
    return heads.pointer_head.weight.detach().numpy() * windows.encoded.std(axis=(0, 1))


def test_windows_without_any_pointers_have_a_class_alone() -> None:
    windows = made(40)
    windows.encoded[..., 2] += 2 * windows.class_index[:, None]
    heads, fit = fit_linear_heads(replace(windows, pointers=np.full((40, 2), NO_POINTER)), 2)
    assert heads.pointer_head is None
    assert fit.out_of_fold_curves is None
    assert fit.pointer_penalty is None
    outputs = heads(torch.from_numpy(windows.encoded))
    assert outputs.pointer_logits is None
    assert (outputs.class_logits.argmax(dim=1).numpy() == windows.class_index).mean() > 0.9


@pytest.mark.parametrize(("class_index", "n_classes"), [(np.zeros(10, dtype=np.int64), 2), (np.arange(10) % 2, 3)])
def test_a_class_without_windows_is_refused(class_index: np.ndarray, n_classes: int) -> None:
    with pytest.raises(InvalidData, match="at least two classes and of each"):
        fit_linear_heads(replace(made(10), class_index=class_index), n_classes)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_handful_of_windows_is_enough_to_fit(n: int) -> None:
    windows = made(n)
    heads, fit = fit_linear_heads(windows, 2)
    logits, curves = read(heads, windows)
    assert np.isfinite(logits).all()
    assert np.isfinite(curves).all()
    assert isinstance(fit, LinearFit)


def test_they_take_the_place_of_other_heads_in_a_network() -> None:
    encoder = build_encoder(EncoderArchitecture("bilstm", 11, 3, 1), 0)
    heads, _ = fit_linear_heads(made(30, 3), 3)
    network = EnhancedSimpleLSTM(encoder, [heads])  # type: ignore[list-item]
    features = np.random.default_rng(0).normal(size=(4, N_BARS, 11)).astype(np.float32)
    logits, curves = run_network(network, features, torch.device("cpu"))
    assert logits.shape == (4, 3)
    assert curves is not None
    np.testing.assert_allclose(curves.sum(axis=1), 1.0)


@pytest.mark.filterwarnings("ignore")
def test_both_ways_go_into_an_onnx_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    windows = made(30)
    heads, _ = fit_linear_heads(windows, 2)

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = heads

        def forward(self, one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            outputs = self.heads.both_ways(one, other, [0, 1])
            assert outputs.pointer_logits is not None
            return outputs.class_logits, torch.softmax(outputs.pointer_logits, dim=1)

    assert windows.mirrored is not None
    file = tmp_path / "heads.onnx"
    example = (torch.from_numpy(windows.encoded), torch.from_numpy(windows.mirrored))
    torch.onnx.export(Graph(), example, file, dynamo=False, opset_version=17, input_names=["one", "other"])
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    logits, curves = session.run(None, {"one": windows.encoded, "other": windows.mirrored})
    expected_logits, expected_curves = read(heads, windows)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-4)
    np.testing.assert_allclose(curves, expected_curves, atol=1e-5)
