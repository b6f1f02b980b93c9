"""Make the device profiles that come with hotbunk, of committed measurements and published numbers.

    python benchmarks/profiles.py

``h100`` is fitted to docs/measurements/costs-h100.csv (``benchmarks/costs.py``), with hotbunk's own delays as they are
in docs/measurements/validate-h100 (``benchmarks/validate.py``, on another day). ``a6000`` and ``rtx5000ada`` are
constructed of the study's published numbers and data sheets: no such machine was at hand.
``hotbunk profile`` on a machine, and ``hotbunk simulate --device-profile store``, are better than any of them.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from records import Measured, read

from hotbunk.costs.model import Costs
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.simulator import profile
from hotbunk.simulator.moving import Restart
from hotbunk.simulator.profile import Profile, Profiled

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "docs" / "measurements" / "costs-h100.csv"
OUT = ROOT / "src" / "hotbunk" / "simulator" / "profiles"
GIB = 1 << 30

THREADRIPPER = 64
"""Cores of the study's hosts."""
ROUTER = {"8b": (16.39e9, 3.22), "3b": (6.80e9, 2.04)}
"""Bytes, and seconds until the first token through llama-server's router: docs/measurements/suite-h100.txt, point 3."""
SERVED = ROOT / "docs" / "measurements" / "validate-h100" / "profile.json"
"""Hotbunk's own delays, as ``benchmarks/validate.py`` measured them of a server on such a machine."""


def main() -> None:
    """Write all three."""
    line, models = read(SOURCE)
    for made in (_h100(line, models), _ada(line.host), _a6000(line.host)):
        path = OUT / f"{made.name}.json"
        profile.write(made, path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def _h100(line: Roofline, models: dict[str, Measured]) -> Profile:
    found, own = {}, profile.read(str(SERVED)).delays
    for each in models.values():
        costs = Costs.fitted(each.anatomy, line, each.records)
        found[each.anatomy.name] = Profiled(costs.anatomy, {kind: fit for kind, fit in costs.fits.items() if fit.count})
    note = "one H100 80GB HBM3, 16 cores, fitted to docs/measurements/costs-h100.csv; delays of validate-h100"
    (large, long), (small, short) = ROUTER.values()
    rate = (large - small) / (long - short)
    restart = Restart(short - small / rate, rate)
    return Profile("h100", note, True, 80 * GIB, 125 * GIB, line, restart, found, *astuple(own))


def _ada(cores: Side) -> Profile:
    # data sheet: 576 GB/s, 130 TFLOP/s dense; PCIe 4.0 x16 as the study's pinned 24 to 26 GB/s
    return _constructed("rtx5000ada", "RTX 5000 Ada", 32, 576e9, 130e12, Restart(2.0, 6.5e9), cores)


def _a6000(cores: Side) -> Profile:
    # data sheet: 768 GB/s, 155 TFLOP/s dense
    return _constructed("a6000", "RTX A6000", 48, 768e9, 155e12, Restart(1.8, 7.0e9), cores)


def _constructed(
    name: str, what: str, memory: int, bandwidth: float, flops: float, restart: Restart, cores: Side
) -> Profile:
    """The host's bandwidth is what makes 8B keep 0.60 and 70B 0.80 of their speed at 90 % (geometric mean of both)."""
    read, kept = 0.8 * bandwidth, (4.7 * 3.5) ** 0.5
    # of four query heads for each of keys and values, of two bytes; each of the host's cores as one of the H100's 15
    attend, away = 2 * read, cores.attend * THREADRIPPER / 15
    device = Side(
        {"F16": read, "Q8_0": 0.95 * read, "Q4_K": 0.85 * read},
        {"F16": flops / 4, "Q4_K": flops / 5},
        attend,
        2e-6,
        5e-5,
    )
    host = Side({"F16": read / kept, "Q4_K": read / kept}, {"F16": 4e11, "Q4_K": 4e11}, away, 2e-6, 5e-5)
    roofline = Roofline(device, host, 25e9, 25e9, 6e9, 8e9, 2e9, streams=True)
    note = (
        f"constructed of data sheets and the study's published numbers for the {what} (arXiv 2605.19593): not measured"
    )
    return Profile(name, note, False, memory * GIB, 512 * GIB, roofline, restart)


if __name__ == "__main__":
    main()
