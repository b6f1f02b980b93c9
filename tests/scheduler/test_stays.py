"""Who enters a slot under ``priced`` gets on in it, so that nobody goes without for much longer than the bound."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hotbunk.costs.rates import Promise, Rates
from hotbunk.scheduler import Bound, Priced, Scheduler, actions, events
from hotbunk.scheduler.line import Sequence
from hotbunk.scheduler.snapshot import Model
from hotbunk.scheduler.urgency import settled, turned
from tests.scheduler.arrivals import devices
from tests.scheduler.device import Device, placement

QUICK = Rates(step=0.01, each=0.001, token=0.001, load=0.5, unload=0.1, carry=1e-5)
WAIT = 30.0
PRICED = st.builds(Priced, st.builds(Bound, st.floats(20.0, 60.0), st.integers(3, 50)), st.floats(0.5, 5.0))


def stays(made: Device) -> Iterator[tuple[int, float, float, str]]:
    """Whoever was taken out of its slot: when it entered, when it was told to go, and why."""
    entered: dict[int, float] = {}
    for time, action in made.log:
        match action:
            case actions.Start(_, _, sequence) | actions.Resume(_, _, sequence):
                entered[sequence] = time
            case actions.Suspend(_, why, sequence):
                yield sequence, entered[sequence], time, why


def gaps(made: Device) -> Iterator[float]:
    """Seconds for which those who have begun went without a stay of any length; until the end, where they still do."""
    entered: dict[int, float] = {}
    last: dict[int, float] = {}
    for time, action in made.log:
        match action:
            case actions.Start(_, _, sequence) | actions.Resume(_, _, sequence):
                entered[sequence] = time
            case actions.Suspend(_, _, sequence):
                begin = entered.pop(sequence)
                if time > begin:
                    yield begin - last.get(sequence, begin)
                    last[sequence] = time
    for sequence, left in last.items():
        if sequence in entered or made.requests[sequence].ended is None:  # else it ended as it was told to go
            yield entered.get(sequence, made.clock) - left


@cache
def overloaded(models: str, slots: int, ttft: float) -> Device:
    """Models of which one fits, asked for far more than they can do, for five minutes."""
    made, places, promise = Device(Scheduler(10, Priced(Bound(WAIT)))), (placement(8, slots),), Promise(ttft, 0.1)
    for name in models:
        made.tell(events.Added(0.0, name, places, 0.5, 0.1, rates=(QUICK,), promise=promise))
    for n in range(1200):
        made.arrive(n / 4, models[n % len(models)], 1.0 + n % 7, prompt=100 * (n % 5))
    made.run(until=300.0)
    return made


UNDER_OVERLOAD = pytest.mark.parametrize(
    ("models", "slots", "ttft"),
    [("a", 1, 2.0), ("ab", 1, 2.0), ("a", 4, 2.0), ("ab", 4, 2.0), ("a", 4, 10.0), ("ab", 4, 10.0)],
)


@UNDER_OVERLOAD
def test_who_enters_under_overload_gets_on(models: str, slots: int, ttft: float) -> None:
    made = overloaded(models, slots, ttft)
    lengths = [left - entered for _, entered, left, why in stays(made) if "bound" not in why]
    assert len(lengths) > 100
    assert min(lengths) >= 2 * QUICK.decode(slots) - 1e-9


@UNDER_OVERLOAD
def test_nobody_goes_without_for_much_longer_than_the_bound(models: str, slots: int, ttft: float) -> None:
    assert max(gaps(overloaded(models, slots, ttft))) <= 1.5 * WAIT


@settings(max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(devices(PRICED, endless=True))
def test_whoever_enters_gets_on_unless_the_bound_demands_its_slot(device: Device) -> None:
    device.run(until=1000.0)
    for _, entered, left, why in stays(device):
        assert "bound" in why or left > entered


def test_a_stay_is_long_enough_once_prompts_have_been_read_one_after_the_other_and_two_steps_are_done() -> None:
    running = [
        Sequence(0, 0.0, 10.0, started=True, prompt=500),
        Sequence(1, 0.0, 10.0, started=True, prompt=300),
        Sequence(2, 0.0, 10.1, started=True, prompt=2000, made=1000),  # it has been read; its state comes back
        Sequence(3, 0.0, 20.0, started=True, prompt=100),
    ]
    model = Model("m", (placement(8, 4),), rates=(QUICK,), running=tuple(running))
    steps = 2 * QUICK.decode(4)
    assert [moment - steps for moment, _ in settled(model)] == pytest.approx([10.5, 10.8, 10.13, 20.1])
    assert [sequence.id for _, sequence in settled(model)] == [0, 1, 2, 3]
    assert turned(model) - steps == pytest.approx(20.0)
    assert turned(model.but(running=())) < 0.0
