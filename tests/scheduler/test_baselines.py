"""What must hold for any arrivals under any of the peers' policies: the budget, nothing lost, the same every time."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hotbunk.scheduler import POLICIES, Snapshot, actions
from hotbunk.scheduler.baselines import (
    BASELINES,
    Baseline,
    Drain,
    LlamaSwap,
    Lru,
    Ollama,
    Partition,
    RoundRobin,
    Router,
    RouterBytes,
)
from hotbunk.scheduler.policies import Verdict
from tests.scheduler.arrivals import devices, run_out
from tests.scheduler.device import Device
from tests.scheduler.stories import device, overlapping, started

many = settings(max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@st.composite
def baselines(draw: st.DrawFn) -> Baseline:
    """Each by its defaults, or with other options."""
    some, name = st.integers(1, 3), st.sampled_from("abcde")
    sets = st.lists(st.frozensets(name), max_size=4).map(tuple)
    return draw(
        st.sampled_from(sorted(BASELINES)).map(lambda name: BASELINES[name]())
        | st.builds(Drain, wait=st.floats(0.0, 30.0))
        | st.builds(LlamaSwap, limit=some, sets=sets, costs=st.dictionaries(name, st.floats(0.0, 9.0)))
        | st.builds(
            Ollama, limit=some, parallel=some, queue=some, alive=st.floats(0.0, 20.0), share=st.floats(0.3, 1.0)
        )
        | st.builds(Partition, weights=st.dictionaries(name, st.floats(0.1, 9.0)))
        | st.builds(RoundRobin, slice=st.floats(0.01, 20.0))
        | st.builds(Router, limit=st.integers(0, 3))
        | st.builds(RouterBytes, limit=st.integers(0, 3))
    )


@dataclass(frozen=True)
class Asked(Baseline):
    """Another policy, asked everything twice."""

    policy: Baseline

    def decide(self, snapshot: Snapshot) -> Verdict:
        verdict = self.policy.decide(snapshot)
        assert verdict == self.policy.decide(snapshot)
        assert snapshot.now < verdict.wake
        assert all(action.reason for action in verdict.actions)
        return verdict


@many
@given(devices(baselines(), endless=False))
def test_every_admitted_request_ends_exactly_once_and_only_round_robin_preempts(device: Device) -> None:
    run_out(device)
    preempts = any(isinstance(action, actions.Suspend) for _, action in device.log)
    assert not preempts or isinstance(device.scheduler.policy, RoundRobin)


@many
@given(devices(baselines().map(Asked), endless=False, steady=False))
def test_nothing_is_lost_where_the_budget_changes(device: Device) -> None:
    run_out(device)


@many
@given(devices(baselines(), endless=True))
def test_requests_without_end_do_not_break_the_budget(device: Device) -> None:
    device.run(until=1000.0)  # the device and the ledger look at every step
    assert all(r.ended is None for r in device.requests.values() if r.work == inf)


@pytest.mark.parametrize("policy", [LlamaSwap(), Lru(), Ollama(parallel=2), Router(limit=1), RouterBytes(limit=1)])
def test_requests_for_a_loaded_model_starve_the_others_as_long_as_they_overlap(policy: Baseline) -> None:
    made = device(policy, 20, slots=2, a=15, b=15)
    overlapping(made, "a", 100)
    made.arrive(1.5, "b", 1.0)
    made.run(until=200.0)
    assert started(made) == 100 * "a" + "b"


def test_their_names_are_not_those_of_hotbunks_own() -> None:
    assert not BASELINES.keys() & POLICIES.keys()
