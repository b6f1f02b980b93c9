"""What may happen. Every event carries the time at which it happened, in seconds of the driver's clock."""

from dataclasses import dataclass

from hotbunk.costs.rates import PROMISE, Promise, Rates
from hotbunk.placement import Footprint, Placement


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; by itself: time has passed."""

    now: float


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """The moment asked for by ``Wake`` has come."""


@dataclass(frozen=True, slots=True)
class Budget(Event):
    """From now on ``budget`` bytes of device memory may be used. If more is used, models leave until it is enough."""

    budget: int


@dataclass(frozen=True, slots=True)
class Added(Event):
    """A model can be served, in any of ``placements`` (best first). A known model gets these facts anew.

    ``rates`` are what it costs at each of them (none: not known), ``promise`` is what its users may expect.
    """

    model: str
    placements: tuple[Placement, ...]
    load: float = 1.0
    leave: float = 0.5
    priority: int = 0
    keep: bool = False
    rates: tuple[Rates, ...] = ()
    promise: Promise = PROMISE


@dataclass(frozen=True, slots=True)
class Removed(Event):
    """A model cannot be served any more; its sequences are the driver's to end."""

    model: str


@dataclass(frozen=True, slots=True)
class Expected(Event):
    """A request for the model is being prepared; unless it is submitted, that is forgotten at ``until``.

    An absent model may be loaded for it where that delays nobody: into free bytes or those of idle models. An idle
    one is not taken off the device for the others before its least turn is over.
    """

    model: str
    until: float


@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """A request arrived. Answered by ``Refuse``, or sooner or later by ``Start``.

    Its ``prompt`` has so many tokens (0: not known), and it may generate ``limit`` at most (0: not known).
    """

    model: str
    sequence: int
    prompt: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A sequence is over, for whatever reason: its slot, its place in the queue or its held state is free.

    It has generated ``made`` tokens (0: not known).
    """

    model: str
    sequence: int
    made: int = 0


@dataclass(frozen=True, slots=True)
class Suspended(Event):
    """A sequence's state lies in host memory and its slot is free. It has generated ``made`` tokens so far."""

    model: str
    sequence: int
    made: int = 0


@dataclass(frozen=True, slots=True)
class Loaded(Event):
    """A load or a resize is complete; ``device`` is what it really takes.

    ``bounds``, here and below: seconds that bringing the model in and taking it out may take from now on (None: as
    before).
    """

    model: str
    placement: Placement
    device: Footprint
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Unloaded(Event):
    """A model has left the device."""

    model: str
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """A load or a resize failed and left nothing on the device; it is not tried again before ``retry``.

    Until then nothing is promised to those who wait for the model, and the others go on as if they were not there.
    """

    model: str
    retry: float


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """The worker died: nothing is resident or wanted, no state is held, whoever ran or was suspended waits again."""


@dataclass(frozen=True, slots=True)
class Restored(Event):
    """A new worker is ready."""


@dataclass(frozen=True, slots=True)
class Wanted(Event):
    """Somebody wants the model loaded, or at another placement if it is loaded; ``why`` says who.

    A placement that ``holds`` comes before what the model is offered until it leaves.
    """

    model: str
    placement: Placement | None = None
    holds: bool = True
    why: str = "an administrator's order"


@dataclass(frozen=True, slots=True)
class Dismissed(Event):
    """An administrator wants the model off the device; its running sequences are preempted and wait again.

    If it is not there yet, it is no longer ``Wanted``.
    """

    model: str
