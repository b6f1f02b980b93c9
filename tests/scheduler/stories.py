"""Stories for a simulated device: who is asked for when, and who was loaded and started then."""

from hotbunk.scheduler import Phase, Scheduler, actions, events
from hotbunk.scheduler.policies import Policy
from tests.scheduler.device import Device, loads, placement


def device(policy: Policy, budget: int, slots: int = 1, **sizes: int | tuple[int, ...]) -> Device:
    """Models of these sizes, or ladders of sizes, loaded in a second and unloaded in half a second."""
    made = Device(Scheduler(budget, policy))
    for name, size in sizes.items():
        ladder = size if isinstance(size, tuple) else (size,)
        made.tell(events.Added(0.0, name, tuple(placement(s, slots) for s in ladder), 1.0, 1.0))
    return made


def ask(made: Device, *requests: tuple[float, str, float]) -> None:
    for at, model, work in requests:
        made.arrive(at, model, work)


def overlapping(made: Device, model: str, seconds: int) -> None:
    """Each ends after the next has begun, with two slots."""
    ask(made, *((float(second), model, 1.5) for second in range(seconds)))


def started(made: Device) -> str:
    """The models of those who were started, in that order."""
    return "".join(action.model for _, action in made.log if isinstance(action, actions.Start))


def loaded(made: Device) -> str:
    return "".join(name for _, name in loads(made))


def there(made: Device) -> str:
    return "".join(m.id for m in made.scheduler.snapshot.models.values() if m.phase is Phase.READY)


def sizes(made: Device) -> dict[str, int]:
    return dict(made.resident)
