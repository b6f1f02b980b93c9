"""Make the device profiles that come with hotbunk, of committed measurements and published numbers.

    python benchmarks/profiles.py

``h100`` is fitted to docs/measurements/suite-h100.txt: moves step by step, decode speed at four residencies, prefill.
What that does not tell (prefill with all layers on the device, several sequences at once) stays with the roofline,
whose rates are those of the data sheet times what is usually reached. ``a6000`` and ``rtx5000ada`` are constructed of
the study's published numbers and data sheets: no such machine was at hand. `hotbunk profile` on a machine, and
``hotbunk simulate --device-profile store``, are better than any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.model import Costs
from hotbunk.costs.price import price
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.placement import Placement
from hotbunk.simulator import profile
from hotbunk.simulator.moving import Restart
from hotbunk.simulator.profile import Profile, Profiled
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "docs" / "measurements" / "suite-h100.txt"
OUT = ROOT / "src" / "hotbunk" / "simulator" / "profiles"
GIB = 1 << 30

# data sheets: 3.35 TB/s and 989 TFLOP/s (a multiplication is two of them), of which 0.8 and 0.5 are usually reached
H100 = Side(
    {"F16": 2.7e12, "Q8_0": 2.4e12, "Q4_K": 2.0e12}, {"F16": 2.5e14, "Q8_0": 1.5e14, "Q4_K": 1.5e14}, 1e-6, 5e-5
)
XEON = Side({"F16": 7e10, "Q8_0": 7e10, "Q4_K": 6e10}, {"F16": 5e11, "Q8_0": 5e11, "Q4_K": 5e11}, 2e-6, 5e-5)
MODELS = {"8b": "qwen3-8b:F16", "3b": "qwen2.5-3b:F16", "8b-q4": "qwen3-8b:Q4_K_M"}
"""The suite's models, and whose shapes they have."""
CONTEXT = 8192
SHORT = 128
"""Tokens behind a sequence while its decoding was timed, about."""

_MOVE = re.compile(
    r"(?:preempt|switch) .*?(?:, (?P<tokens>\d+) tokens of KV)? \((?P<layers>\d+) layers on the device\): .* = "
)
_STEP = re.compile(r"(kv_out|free|promote|context|kv_in)(?: (\S+))? ([\d.]+)(?: \([\d.]+; ([\d.]+)\))?")
_DECODE = re.compile(r"(\S+), (\d+) of 37 layers, 15 threads +([\d.]+) against")
_PREFILL = re.compile(r"(\d+) of 37 layers: worker +(\d+)")
_BUS = re.compile(
    r"copies of 1024 MiB, GB/s: h2d_pinned ([\d.]+), d2h_pinned ([\d.]+), h2d_pageable ([\d.]+), d2h_pageable ([\d.]+)"
)


def main() -> None:
    """Write all three."""
    for made in (_h100(SOURCE.read_text()), _ada(), _a6000()):
        path = OUT / f"{made.name}.json"
        profile.write(made, path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def _h100(text: str) -> Profile:
    found = _BUS.search(text)
    assert found
    bus = [float(rate) * 1e9 for rate in found.groups()]
    roofline = Roofline(H100, XEON, *bus, pin=10.2e9, streams=True)
    models = {}
    for suite, name in MODELS.items():
        costs = Costs.fitted(_anatomy(name), roofline, list(_records(suite, name, text)))
        models[name] = Profiled(costs.anatomy, {kind: fit for kind, fit in costs.fits.items() if fit.count})
    note = "one H100 80GB HBM3, 16 cores, fitted to docs/measurements/suite-h100.txt; batches by data sheet"
    # llama-server's router, request to first token there: 3.15 s of 16.4 GB, 1.84 s of 6.8 GB
    rate = (16.39e9 - 6.80e9) / (3.15 - 1.84)
    return Profile("h100", note, True, 80 * GIB, 125 * GIB, roofline, Restart(1.84 - 6.80e9 / rate, rate), models)


def _records(suite: str, name: str, text: str) -> Iterator[Record]:
    anatomy = _anatomy(name)

    def place(layers: int) -> Placement:
        return price(anatomy, layers, CONTEXT, 1)

    for line in text.splitlines():
        if (move := _MOVE.match(line)) and "between" in line:
            yield from _steps(suite, line, place(int(move["layers"])), int(move["tokens"] or 0))
        elif (decode := _DECODE.match(line)) and decode[1] == suite:
            yield Record(Kind.DECODE, place(int(decode[2])), 1 / float(decode[3]), tokens=SHORT)
        elif (prefill := _PREFILL.match(line)) and suite == "8b":
            yield Record(Kind.PREFILL, place(int(prefill[1])), 6000 / float(prefill[2]), tokens=6000)


def _steps(suite: str, line: str, place: Placement, tokens: int) -> Iterator[Record]:
    for step, model, ms, gigabytes in _STEP.findall(line.split("=", 1)[1]):
        seconds, moved = float(ms) / 1e3, int(float(gigabytes or 0) * 1e9)
        if step in ("kv_out", "kv_in"):
            if suite == "8b" and tokens:  # only the 8b had a KV cache; its bytes on the host are not in the figure
                whole = tokens * (place.device.kv + place.host.kv) // place.context
                yield Record(Kind(step), place, seconds, tokens=tokens, moved=whole)
        elif model == suite:
            kind = {"free": Kind.UNLOAD, "promote": Kind.LOAD, "context": Kind.CONTEXT}[step]
            yield Record(kind, place, seconds, moved=moved or place.device.total, pieces=place.layers)


def _ada() -> Profile:
    # data sheet: 576 GB/s, 130 TFLOP/s dense; PCIe 4.0 x16 as the study's pinned 24 to 26 GB/s
    return _constructed("rtx5000ada", "RTX 5000 Ada", 32, 576e9, 130e12, Restart(2.0, 6.5e9))


def _a6000() -> Profile:
    # data sheet: 768 GB/s, 155 TFLOP/s dense
    return _constructed("a6000", "RTX A6000", 48, 768e9, 155e12, Restart(1.8, 7.0e9))


def _constructed(name: str, what: str, memory: int, bandwidth: float, flops: float, restart: Restart) -> Profile:
    """The host's bandwidth is what makes 8B keep 0.60 and 70B 0.80 of their speed at 90 % (geometric mean of both)."""
    read, kept = 0.8 * bandwidth, (4.7 * 3.5) ** 0.5
    device = Side(
        {"F16": read, "Q8_0": 0.95 * read, "Q4_K": 0.85 * read}, {"F16": flops / 4, "Q4_K": flops / 5}, 2e-6, 5e-5
    )
    host = Side({"F16": read / kept, "Q4_K": read / kept}, {"F16": 4e11, "Q4_K": 4e11}, 2e-6, 5e-5)
    roofline = Roofline(device, host, 25e9, 25e9, 6e9, 8e9, 2e9, streams=True)
    note = (
        f"constructed of data sheets and the study's published numbers for the {what} (arXiv 2605.19593): not measured"
    )
    return Profile(name, note, False, memory * GIB, 512 * GIB, roofline, restart)


def _anatomy(name: str) -> Anatomy:
    shape, _, kind = name.partition(":")
    return dissect(described(SHAPES[shape], kind), name)


if __name__ == "__main__":
    main()
