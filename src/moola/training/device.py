"""Devices and threads: what computes, set up so that the same seed gives the same bytes."""

from __future__ import annotations

import os

import torch
from torch.utils import deterministic

from moola.errors import DeviceUnavailable, WrongUsage


def prepare_device(name: str, threads: int) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda` and make torch deterministic on it.

    Parameters
    ----------
    threads
        CPU threads; 0 takes one a core. Results depend on it in the last bits, so it is recorded.
    """
    if threads < 0:
        raise WrongUsage(f"--threads must be at least 0, but it is {threads}. Give 0 for one a core.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "--device cuda needs a CUDA GPU, but torch finds 0 on this machine. "
            "Use --device auto (the default) or --device cpu."
        )
    # cuBLAS is deterministic only with a fixed workspace, which must be set before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Every step asks for tens of megabytes anew; in pages of 4 kB, zeroing them took a third of the time.
    # torch reads this at its first allocation, and it changes no result.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.use_deterministic_algorithms(True)
    # That would also fill all memory that an operation is about to write; nothing here reads what was not written.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(threads or os.cpu_count() or 1)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    # By its number: which GPU is a process's own is known to its main thread alone, not to those that make batches.
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return what an LSTM multiplies in while it learns: for `auto`, bfloat16 where the machine has it in hardware.

    Sums, states of the optimiser and everything outside the LSTM stay float32.

    Raises
    ------
    DeviceUnavailable
        bfloat16 is asked for and this processor cannot train an LSTM in it, not even slowly.
    """
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    if precision != "bfloat16":
        return torch.float32
    if device.type == "cpu" and not can_train_in_bfloat16():
        raise DeviceUnavailable(
            "--precision bfloat16 needs a processor that multiplies in it, but this one does not. "
            "Use --precision auto (the default) or --precision float32."
        )
    return torch.bfloat16


def can_train_in_bfloat16() -> bool:
    """Tell whether an LSTM runs in bfloat16 on this processor: without AVX-512, oneDNN has no such primitive."""
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.random.fork_rng(devices=[]):
        try:
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
        except RuntimeError:
            return False
    return True


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Without these instructions oneDNN would emulate it, or refuse.
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
