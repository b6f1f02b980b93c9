"""Any arrivals, for any policy."""

from math import inf

from hypothesis import strategies as st

from hotbunk.costs.rates import Rates
from hotbunk.scheduler import Scheduler, events
from hotbunk.scheduler.policies import Policy
from tests.scheduler.device import Device, placement


@st.composite
def devices(draw: st.DrawFn, policies: st.SearchStrategy[Policy], endless: bool, steady: bool = True) -> Device:
    """A device with one to five models, and arrivals for them, some announced; unless ``steady`` its budget changes,
    and is in the end what it was."""
    budget = draw(st.integers(10, 30))
    policy = draw(policies)
    random = draw(st.randoms(use_true_random=False))
    device = Device(Scheduler(budget, policy), pace=random.random)
    models = draw(st.integers(1, 5))
    for name in "abcde"[:models]:
        sizes = sorted(draw(st.lists(st.integers(1, budget), min_size=1, max_size=3)), reverse=True)
        placements = tuple(placement(s, draw(st.integers(1, 3))) for s in sizes)
        times = draw(st.floats(0.1, 3.0)), draw(st.floats(0.1, 2.0))
        steps = sorted(draw(st.lists(st.floats(0.001, 0.1), min_size=len(sizes), max_size=len(sizes))))
        rates = tuple(Rates(step, step / 10, step / 10, *times) for step in steps) if draw(st.booleans()) else ()
        device.tell(events.Added(0.0, name, placements, *times, priority=draw(st.integers(0, 2)), rates=rates))
    lengths = st.floats(0.01, 20.0) | (st.just(inf) if endless else st.nothing())
    arrivals = st.tuples(st.floats(0.0, 3.0), st.sampled_from("abcde"[:models]), lengths)
    clock = 0.0
    for gap, name, work in draw(st.lists(arrivals, max_size=60)):
        clock += gap
        device.arrive(clock, name, work)
        if draw(st.booleans()):  # not always the model that is then asked for
            device.expect(max(0.0, clock - draw(st.floats(0.0, 2.0))), draw(st.sampled_from("abcde"[:models])))
    for time, left in [] if steady else draw(st.lists(st.tuples(st.floats(0.0, clock + 50.0), st.integers(0, budget)))):
        device.change(time, left)
    device.change(clock + 60.0, budget)
    return device


def run_out(device: Device) -> None:
    """Run until nothing happens any more: whoever was not refused has ended, and the budget is kept."""
    device.run(until=100_000.0)
    assert all((r.ended is not None) != r.refused for r in device.requests.values())
    snapshot = device.scheduler.snapshot
    assert not any(list(m.sequences()) for m in snapshot.models.values())
    assert snapshot.used <= snapshot.budget
