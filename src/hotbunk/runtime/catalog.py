"""What is known of each model on one device, from its file, the worker's predictions and its measured moves."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from hotbunk.costs import MoveCosts
from hotbunk.models import Served
from hotbunk.placement import Footprint, Placement
from hotbunk.runtime.job import ModelInfo
from hotbunk.scheduler import Model
from hotbunk.scheduler.events import Added


@dataclass(slots=True)
class Entry:
    """A served model. ``placement`` is where it shall go; ``came`` and ``left`` when it was last sent in and out."""

    served: Served
    created: int = field(default_factory=lambda: int(time.time()))
    layers: int = 0
    context: int = 0
    placement: Placement | None = None
    costs: MoveCosts | None = None
    problem: str | None = None
    failures: int = 0
    came: tuple[float, float] | None = None
    left: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def info(self) -> ModelInfo:
        """What the gateway may know."""
        served, sampling = self.served, dict(self.served.sampling)
        return ModelInfo(served.id, str(served.path), self.context, self.created, served.alias, self.problem, sampling)

    def priced(self, placement: Placement) -> None:
        """The worker has foretold what ``placement`` takes: that is where the model shall go."""
        self.placement = placement
        self.costs = MoveCosts(placement)

    def added(self, now: float) -> Added:
        """The event that makes it known to the scheduler."""
        assert self.placement and self.costs
        served, costs = self.served, self.costs
        return Added(now, served.id, (self.placement,), costs.load, costs.leave, served.priority, served.keep_resident)

    def state(self, device: str, model: Model | None) -> dict[str, Any]:
        """The model as ``/api/state`` shows it; ``model`` is the scheduler's view, None if it cannot be served."""
        placement = model.placement if model else None
        return {
            "id": self.served.id,
            "alias": list(self.served.alias),
            "device": device,
            "state": model.phase.value if model else "unusable",
            "problem": self.problem,
            "layers": placement.layers if placement else 0,
            "layers_total": self.layers,
            "context": self.context,
            "slots": self.served.slots,
            "priority": self.served.priority,
            "keep_resident": self.served.keep_resident,
            "device_bytes": placement.device.total if placement else 0,
            "placement": sides(placement),
            "planned": sides(self.placement),
            "load_seconds_bound": self.costs.load if self.costs else None,
            "leave_seconds_bound": self.costs.leave if self.costs else None,
        }


def sides(placement: Placement | None) -> dict[str, Any] | None:
    """A placement's bytes on each side, ready for JSON."""
    if placement is None:
        return None
    return {"layers": placement.layers, "device": _bytes(placement.device), "host": _bytes(placement.host)}


def _bytes(footprint: Footprint) -> dict[str, int]:
    return {"weights": footprint.weights, "kv": footprint.kv, "compute": footprint.compute, "total": footprint.total}


def waited(since: float) -> float:
    """Seconds since a moment of the driver's clock, rounded for display."""
    return round(monotonic() - since, 3)
