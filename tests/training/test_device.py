"""Devices: `auto` finds one, `cuda` without a GPU is refused with advice, threads are set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from moola.errors import DeviceUnavailable
from moola.training import device
from moola.training.device import prepare_device, training_dtype


@pytest.fixture(autouse=True)
def settings_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    with threadpool_limits():
        yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(strict)


@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_numpy_take_no_more_threads_than_torch(threads: int) -> None:
    prepare_device("cpu", threads)
    found = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    assert found
    assert set(found) == {threads}
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("has_gpu", "found"), [(True, "cuda:1"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, has_gpu: bool, found: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert prepare_device("auto", 1) == torch.device(found)
    assert prepare_device("cpu", 1) == torch.device("cpu")


def test_cuda_without_a_gpu_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    with pytest.raises(DeviceUnavailable, match=r"Use --device auto \(the default\) or --device cpu"):
        prepare_device("cuda", threads + 1)
    assert DeviceUnavailable.exit_code == 1
    assert torch.get_num_threads() == threads


def test_cuda_is_the_gpu_of_the_process_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert prepare_device("cuda", 1) == torch.device("cuda:2")


@pytest.mark.parametrize(("asked", "cores", "got"), [(1, 4, 1), (3, 4, 3), (0, 2, 2), (0, None, 1)])
def test_threads_are_as_asked_and_nought_is_one_a_core(
    monkeypatch: pytest.MonkeyPatch, asked: int, cores: int | None, got: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    prepare_device("cpu", asked)
    assert torch.get_num_threads() == got


def test_results_are_made_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_deterministic_debug_mode("default")
    prepare_device("cpu", 1)
    assert torch.get_deterministic_debug_mode() == 2
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    prepare_device("cpu", 1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize(
    ("able", "precision", "found"),
    [
        ({"avx512_bf16": True}, "auto", torch.bfloat16),
        ({"amx_bf16": True}, "auto", torch.bfloat16),
        ({"avx512_bf16": False}, "auto", torch.float32),
        ({}, "auto", torch.float32),
        ({"amx_bf16": True}, "float32", torch.float32),
        ({}, "bfloat16", torch.bfloat16),
    ],
)
def test_low_precision_is_taken_by_itself_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], precision: str, found: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(device, "can_train_in_bfloat16", lambda: True)
    assert training_dtype(precision, torch.device("cpu")) == found


def test_low_precision_that_the_processor_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.nn.LSTM, "forward", refuse)
    assert not device.can_train_in_bfloat16()
    with pytest.raises(DeviceUnavailable, match="--precision float32"):
        training_dtype("bfloat16", torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert training_dtype("auto", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("capability", "found"), [((8, 0), torch.bfloat16), ((7, 5), torch.float32)])
def test_a_gpu_is_asked_for_its_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], found: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert training_dtype("auto", torch.device("cuda")) == found
