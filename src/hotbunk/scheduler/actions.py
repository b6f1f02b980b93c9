"""What the driver shall do, in the order given. ``reason`` says why, in words for people."""

from dataclasses import dataclass

from hotbunk.placement import Placement


@dataclass(frozen=True, slots=True)
class Action:
    """Base of all actions on a model."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Load(Action):
    """Give an absent model its placement. Answered by ``Loaded`` or ``Failed``."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class Resize(Action):
    """Change a ready model's placement. Answered by ``Loaded`` or ``Failed``."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class Unload(Action):
    """Take the model off the device. Its running sequences have been asked to suspend. Answered by ``Unloaded``."""


@dataclass(frozen=True, slots=True)
class Start(Action):
    """Run a sequence from its tokens, in a free slot."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Suspend(Action):
    """Take a running sequence out of its slot. Answered by ``Suspended`` or ``Finished``."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Resume(Action):
    """Run a suspended sequence again, in a free slot."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Refuse(Action):
    """Do not admit the sequence: it could not be started within the bound. Try again after ``retry_after`` seconds."""

    sequence: int
    retry_after: float


@dataclass(frozen=True, slots=True)
class Wake:
    """Send a ``Tick`` at time ``at`` unless another event came before: without one, nothing would be decided then."""

    at: float


Move = Load | Resize | Unload
Decision = Load | Resize | Unload | Start | Suspend | Resume | Refuse
