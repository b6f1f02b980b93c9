"""What evaluations take beside another model's promotion, and what it takes to draw a token.

    python benchmarks/beside.py --device CUDA0 [--model qwen2.5-3b:F16] [--scale 1.0] [--size 4GiB] [--out FILE]

1. A decode step, a chunk of 512 tokens, and the state of such a sequence, out and in: alone, and while ``--size`` bytes
   go from pinned memory to the device, as a promotion's do (``llama/stream.py``); and at which rate those go meanwhile.
2. One token: greedy, with a biased one, as by default, and with a penalty, for which all tokens are looked at.

Medians, and the longest. Where there is no pinned memory, nothing passes beside anything, and 1 is what it takes alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter, sleep

import numpy as np
from report import Report

from hotbunk.costs.steps import CHUNK
from hotbunk.llama.context import Context
from hotbunk.llama.device import Device, open_device
from hotbunk.llama.lib import Pointer, base, bind
from hotbunk.llama.model import Model
from hotbunk.llama.pinned import Block
from hotbunk.llama.pool import pool
from hotbunk.llama.sampler import Sampler
from hotbunk.llama.stream import stream
from hotbunk.llama.tensor import Whole
from hotbunk.measure.wire import prompt
from hotbunk.sampling import Sampling
from hotbunk.study.shapes import named
from hotbunk.study.write import write
from hotbunk.units import parse_size
from hotbunk.worker.machine import cores

LENGTH = 4096
SECONDS = 0.05  # that something is repeated for, while bytes are on their way
AHEAD = 0.002  # seconds that they get before
TIMES = 40  # that it is repeated alone
_base = bind(base, "ggml_backend_buffer_get_base", Pointer, Pointer)


def main() -> None:
    """Write a model, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="qwen2.5-3b:F16", help="SHAPE:TYPE")
    parser.add_argument("--scale", type=float, default=1.0, help="of its width")
    parser.add_argument("--size", type=parse_size, default=4 << 30)
    parser.add_argument("--threads", type=int, default=max(1, cores() - 1))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a file for the same lines")
    asked = parser.parse_args()
    report, device = Report(asked.out), open_device(asked.device)
    shape, _, kind = asked.model.partition(":")
    with tempfile.TemporaryDirectory(prefix="hotbunk-beside-") as folder:
        path = Path(folder) / "model.gguf"
        write(path, named(shape).scaled(asked.scale), kind or None)
        model = Model(path, device, asked.threads)
        model.promote(model.layers)
        model.settle()
        report.say(f"{device.description}, {asked.model}, vocabulary {model.vocabulary}")
        _moves(Steps(model.context(LENGTH, 2), device), device, asked.size, asked.rounds, report)
        _draws(model, report)
        model.close()


class Steps:
    """What is evaluated: slot 0 decodes, slot 1 is filled, saved and restored."""

    def __init__(self, context: Context, device: Device) -> None:
        self._context, self._position = context, LENGTH
        self.chunk()
        size = context.state_size(1)
        self._block = Block(device, size)
        self._state = self._block.bytes[:size]
        self._state[:] = 0
        self._block.pin(0, size)
        self.save()
        self.size = size

    def step(self) -> None:
        """One token."""
        if self._position >= LENGTH:
            self._fill(0)
            self._position = CHUNK
        self._context.decode([(200, self._position, 0)])
        self._context.synchronize()
        self._position += 1

    def chunk(self) -> None:
        """A prompt of 512 tokens."""
        self._fill(1)

    def save(self) -> None:
        """Its state out."""
        self._context.save(1, self._state)

    def restore(self) -> None:
        """And back."""
        self._context.clear(1)
        self._context.restore(1, self._state)

    def _fill(self, slot: int) -> None:
        self._context.clear(slot)
        self._context.prefill(slot, 0, prompt(CHUNK), output=True)
        self._context.synchronize()


def _moves(steps: Steps, device: Device, size: int, rounds: int, report: Report) -> None:
    report.title(f"beside {size / 1e9:.1f} GB on their way; the state has {steps.size / 1e6:.1f} MB")
    acts = {"step": steps.step, "chunk": steps.chunk, "out": steps.save, "in": steps.restore}
    for name, act in acts.items():
        act()
        report.row(f"{name}, alone", _told([_timed(act) for _ in range(TIMES)]))
    if device.pinned:
        with _promotion(device, size) as send:
            for name, act in acts.items():
                seconds, sent = _beside(act, send, rounds)
                report.row(f"{name}, beside", f"{_told(seconds)}, {size / median(sent) / 1e9:.1f} GB/s")


def _beside(act: Callable[[], object], send: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that it takes meanwhile, and those of each sending."""
    seconds, sent = list[float](), list[float]()
    for _ in range(rounds):
        sending = Thread(target=lambda: sent.append(send()))
        sending.start()
        sleep(AHEAD)
        end = perf_counter() + SECONDS
        while perf_counter() < end:
            seconds.append(_timed(act))
        sending.join()
    return seconds, sent


@contextmanager
def _promotion(device: Device, size: int) -> Iterator[Callable[[], float]]:
    """Sends so many bytes, and returns the seconds that it took."""
    block, buffer = Block(device, size), pool(device).take(size)
    block.bytes[:] = 1
    block.pin(0, size)
    whole = Whole(buffer, _base(buffer), size)

    def send() -> float:
        began = perf_counter()
        stream(device).send(whole.address, block.address, size, pinned=True)
        stream(device).wait()
        return perf_counter() - began

    yield send
    whole.free()
    pool(device).give(size, buffer)
    block.free()


def _draws(model: Model, report: Report) -> None:
    context = model.context(CHUNK, 1)
    context.prefill(0, 0, prompt(CHUNK), output=True)
    context.synchronize()
    assert np.isfinite(context.logits(-1)).all()
    report.title("a token")
    for name, sampling in {
        "greedy": Sampling(temperature=0),
        "greedy, one token banned": Sampling(temperature=0, logit_bias={2: -np.inf}),
        "as by default": Sampling(),
        "with a penalty": Sampling(repeat_penalty=1.1),
    }.items():
        sampler = Sampler(sampling, model, prompt(CHUNK), [])
        report.row(name, _told([_timed(partial(sampler.sample, context, -1)) for _ in range(TIMES)]))
        sampler.close()


def _timed(act: Callable[[], object]) -> float:
    began = perf_counter()
    act()
    return perf_counter() - began


def _told(seconds: list[float]) -> str:
    return f"{1e3 * median(seconds):.3f} ms, most {1e3 * max(seconds):.3f}"


if __name__ == "__main__":
    main()
