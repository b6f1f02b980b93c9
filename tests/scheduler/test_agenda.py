"""The agenda of long queues, which is worked out with arrays, says what lists say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.scheduler import Bound, Model, Sequence, Snapshot
from hotbunk.scheduler import agenda as module
from hotbunk.scheduler.line import Line
from tests.scheduler.device import placement

QUEUES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.floats(0.0, 100.0), max_size=20).map(sorted), min_size=1)


@given(QUEUES)
def test_arrays_and_lists_agree(queues: dict[str, list[float]]) -> None:
    models = {
        name: Model(name, (placement(5),), load=1.0 + place, leave=0.5).but(
            queue=Line(Sequence(n, at, at) for n, at in enumerate(times))
        )
        for place, (name, times) in enumerate(queues.items())
    }
    snapshot = Snapshot(10, now=100.0, models=models)
    lists = module.agenda(snapshot, Bound(), 2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MANY", 0)
        arrays = module.agenda(snapshot, Bound(), 2.0)
    assert (arrays.first, arrays.turns, arrays.horizon) == (lists.first, lists.turns, lists.horizon)
    assert arrays.due == pytest.approx(lists.due)
