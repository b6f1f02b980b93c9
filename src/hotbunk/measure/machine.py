"""The machine that a worker runs on: what its figures hold for, its roofline, and its bus."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store
from hotbunk.errors import EngineError
from hotbunk.measure.steps import Bandwidths
from hotbunk.worker.machine import cores, library
from hotbunk.worker.protocol import Hello

__all__ = ["changed", "copies", "full_roofline", "machine", "roofline"]

_NVIDIA = Path("/proc/driver/nvidia/version")


def machine(hello: Hello) -> Machine:
    """The fingerprint of a worker's machine."""
    return Machine(hello.description or hello.device, _driver(), _cpu(), cores(), hello.threads, hello.libllama)


def changed(there: Machine) -> str:
    """Why a machine's figures do not hold here, in words, as far as can be seen with no device; empty: they may."""
    return there.differences(replace(there, driver=_driver(), cpu=_cpu(), cores=cores(), libllama=library()))


def roofline(device: str, threads: int, quick: bool = False) -> Roofline:
    """Measure a device and its machine, in a process of its own.

    Nothing else should use the device meanwhile; one that is an RPC server serves a single process at a time.

    Raises:
        EngineError: the device cannot be had or measured.
    """
    options = ["--device", device, "--threads", str(threads), *["--quick"] * quick]
    told = _told("roofline", options, f"the speed of {device} could not be measured")
    return msgspec.json.decode(told, type=Roofline)


def copies(device: str, sizes: Sequence[int]) -> list[Bandwidths]:
    """How fast copies of these sizes, in bytes, cross the bus: for each, what ``Bandwidths`` says, and its ``size``.

    Raises:
        EngineError: it cannot be measured.
    """
    options = ["--device", device, *(word for size in sizes for word in ("--size", str(size)))]
    told = _told("bus", options, f"the bus to {device} cannot be measured")
    found: list[Bandwidths] = msgspec.json.decode(told)
    return found


def _told(what: str, options: Sequence[str], failure: str) -> str:
    """What a module of ``hotbunk.llama`` that measures prints, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", f"hotbunk.llama.{what}", *options], capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise EngineError(f"{failure}: {words[-1].removeprefix('hotbunk: error: ')}")
    return done.stdout


def full_roofline(
    kept: Store, here: Machine, device: str, say: Callable[[str], object] = lambda line: None
) -> Roofline:
    """The machine's roofline from the store; measured now, and kept, if it is not there or is a quick one.

    Nothing else should use the device meanwhile.

    Raises:
        ConfigError: the store cannot be used.
        EngineError: the device cannot be had or measured.
    """
    line = kept.roofline(here)
    if line is None or line.quick:
        say(f"measuring the roofline of {here.device}")
        line = roofline(device, here.threads)
        kept.keep_roofline(here, line)
    return line


def _driver() -> str:
    return _found(r"Kernel Module.*?\s(\d+\.[\d.]+)", _NVIDIA)


def _cpu() -> str:
    return _found(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.machine()


def _found(pattern: str, file: Path) -> str:
    try:
        match = re.search(pattern, file.read_text())
    except OSError:
        return ""
    return match[1].strip() if match else ""
