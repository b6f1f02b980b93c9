"""What a move consists of, and the least time that its bytes take on the bus.

    limit of a step [s] = its bytes [B] / measured bandwidth in that direction [B/s]

The bandwidth is the pinned one where the worker says that the bytes lay in pinned memory, else the pageable one. Of a
KV cache only the part on the device crosses the bus. Steps that move no bytes (freeing, making a context) have no
limit: the limit of a whole move is the sum over the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hotbunk.worker.protocol import Loaded, Report, Resumed, Suspended, Unloaded

__all__ = ["Bandwidths", "Limits", "Step", "Swap", "break_down", "summarise"]

Bandwidths = Mapping[str, float | None]
"""What ``hotbunk.llama.bus`` prints for one size: bytes per second by direction and kind of memory."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a move: ``seconds`` it took, ``size`` bytes that crossed the bus, ``limit`` seconds (None: no bytes).

    Parts may overlap: a context is made while weights are on their way.
    """

    name: str
    seconds: float
    size: int = 0
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times its limit it took."""
        return self.seconds / self.limit if self.limit else None


@dataclass(frozen=True, slots=True)
class Swap:
    """A move as a whole: medians over the rounds. ``seconds`` is from the first command to the last report.

    ``model`` is the one that is moved in; ``other`` the one that leaves, or that comes in between; ``layers`` are those
    on the device at the end, ``tokens`` those in the KV cache that is carried over.
    """

    move: str
    model: str
    other: str
    layers: int
    tokens: int
    seconds: float
    steps: tuple[Step, ...]

    @property
    def limit(self) -> float:
        """The limits of its steps together, seconds."""
        return sum(step.limit or 0.0 for step in self.steps)

    @property
    def ratio(self) -> float | None:
        """How many times its limit it took."""
        return self.seconds / self.limit if self.limit else None

    @property
    def title(self) -> str:
        """What was done, in words."""
        names = f"{self.other} → {self.model}" if self.move == "switch" else self.model
        between = f" for {self.other}" if self.other and self.move != "switch" else ""
        kv = f", {self.tokens} tokens of KV" if self.tokens else ""
        return f"{self.move} {names}{between}{kv} ({self.layers} layers on the device)"


class Limits:
    """The bus's limits for numbers of bytes, in seconds."""

    def __init__(self, bus: Bandwidths) -> None:
        self._bus = bus

    def to_device(self, size: int, pinned: bool) -> float:
        """Seconds on the way there."""
        return size / self._speed("h2d", pinned)

    def to_host(self, size: int, pinned: bool) -> float:
        """Seconds on the way back."""
        return size / self._speed("d2h", pinned)

    def _speed(self, direction: str, pinned: bool) -> float:
        speed = (self._bus[f"{direction}_pinned"] if pinned else None) or self._bus[f"{direction}_pageable"]
        assert speed
        return speed


def break_down(reports: Iterable[Report], limits: Limits, share: float, whole: float) -> list[Step]:
    """The steps that reports of one move tell of. ``share``: how much of a KV cache is on the device.

    What of the ``whole`` (seconds) no report accounts for comes last: queues, sockets, a decode step under way.
    """
    steps: list[Step] = []
    told, kv, pinned = 0.0, 0, False
    for report in reports:
        match report:
            case Suspended():
                told, kv, pinned = told + report.seconds, int(report.size * share), report.tier == "pinned"
                steps.append(Step("kv_out", report.seconds, kv, limits.to_host(kv, pinned)))
            case Resumed():
                told, kv, pinned = told + report.seconds, int(report.size * share), report.tier == "pinned"
                steps.append(Step("kv_in", report.seconds, kv, limits.to_device(kv, pinned)))
            case Unloaded():
                told += report.seconds
                steps.append(Step(f"free {report.model}", report.seconds))
            case Loaded():
                told += report.seconds
                steps += _loading(report, limits)
    return [*steps, Step("between", max(0.0, whole - told))]


def _loading(report: Loaded, limits: Limits) -> list[Step]:
    steps = []
    for name, seconds in report.steps.items():
        if name == "promote":
            limit = limits.to_device(report.moved, report.pinned)
            steps.append(Step(f"promote {report.model}", seconds, report.moved, limit))
        elif seconds > 0:
            steps.append(Step(f"{name} {report.model}", seconds))
    return steps


def summarise(rounds: Sequence[Sequence[Step]]) -> tuple[Step, ...]:
    """Each step's medians over the rounds; steps of the same name in one round are told apart by their order."""
    found: dict[tuple[str, int], list[Step]] = {}
    for steps in rounds:
        seen: dict[str, int] = {}
        for step in steps:
            seen[step.name] = seen.get(step.name, 0) + 1
            found.setdefault((step.name, seen[step.name]), []).append(step)
    return tuple(_median(steps) for steps in found.values())


def _median(steps: list[Step]) -> Step:
    limits = [step.limit for step in steps if step.limit is not None]
    size = int(median(step.size for step in steps))
    return Step(steps[0].name, median(step.seconds for step in steps), size, median(limits) if limits else None)
