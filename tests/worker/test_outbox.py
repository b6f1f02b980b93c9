"""Reports wait for the device to have work again, and for nothing else; their order stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.llama.context import Context
from hotbunk.sampling import Sampling
from hotbunk.worker.outbox import Outbox
from hotbunk.worker.protocol import Cancel, Ended, Produced, Report, Resume, Resumed, Suspend, Suspended, Unload
from tests.worker.rig import SAMPLINGS, Rig, tokens

GREEDY = SAMPLINGS["greedy"]


@given(patient=st.booleans(), kinds=st.lists(st.sampled_from(["now", "later", "flush"])))
def test_keeps_the_order(patient: bool, kinds: list[str]) -> None:
    sent: list[Report] = []
    outbox, made = Outbox(sent.append, patient), list[Report]()
    for number, kind in enumerate(kinds):
        report = Produced(str(number), [])
        if kind == "flush":
            outbox.flush()
        else:
            made.append(report)
            outbox(report) if kind == "now" else outbox.later(report)
        assert sent == made[: len(sent)]
        assert len(sent) == len(made) or (patient and kind == "later")


@pytest.fixture(scope="module")
def rigs(smollm2: Path, kquant: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Rig]]:
    """The same device twice; of the second one it is said that it computes by itself."""
    files = {"smollm2": smollm2, "kquant": kquant}
    rigs = [Rig("cpu", "cpu", files, tmp_path_factory.mktemp("spill"), patient=patient) for patient in (False, True)]
    yield rigs
    for rig in rigs:
        rig.engine.close()


@pytest.fixture
def rig(rigs: list[Rig]) -> Iterator[Rig]:
    yield rigs[1]
    rigs[1].clear()


def _life(rig: Rig) -> list[tuple[object, ...]]:
    """What is reported of two models with sequences that come, go, wait and end, but for the seconds."""
    rig.load("smollm2", 3)
    rig.load("kquant", 2)
    first, second = rig.start("smollm2", tokens(4), GREEDY, 9), rig.start("smollm2", tokens(100), GREEDY, 3)
    other = rig.start("kquant", tokens(4), Sampling(seed=4), 12)
    for _ in range(4):
        rig.engine.step()
    rig.ask(Suspend(other), Suspended)
    rig.engine.step()
    rig.ask(Resume(other), Resumed)
    rig.engine.step()
    rig.ask(Cancel(first), Ended)
    rig.finish(second)
    rig.engine.handle(Unload("kquant"))
    return [_told(report) for report in rig.reports]


def _told(report: Report) -> tuple[object, ...]:
    match report:
        case Produced(model, drawn):
            return ("produced", model, drawn)
        case Ended(sequence, reason):
            return ("ended", sequence, reason)
        case Suspended(sequence, size) | Resumed(sequence, size):
            return (type(report), sequence, size)
    return (type(report),)


def test_the_same_is_told_in_the_same_order(rigs: list[Rig]) -> None:
    plain, patient = [_life(rig) for rig in rigs]
    assert plain == patient
    for rig in rigs:
        rig.clear()


def test_tokens_are_sent_while_the_next_are_computed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.load("smollm2", 0)
    sequence = rig.start("smollm2", tokens(4), GREEDY, 4)
    rig.engine.step()
    assert len(rig.produced(sequence)) == 1, "the first one goes at once"
    known: list[int] = []
    monkeypatch.setattr(Context, "synchronize", lambda _: known.append(len(rig.produced(sequence))))
    rig.engine.step()
    rig.engine.step()
    rig.engine.step()
    assert known == [1, 2, 3], "each token is on its way before the next one is waited for"
    assert len(rig.produced(sequence)) == 4, "the last one is not kept"
    assert rig.ended(sequence)


def test_tokens_do_not_wait_where_nothing_follows(rig: Rig) -> None:
    rig.load("smollm2", 0)
    sequence = rig.start("smollm2", tokens(4), GREEDY, 9)
    rig.engine.step()
    rig.engine.step()
    assert len(rig.produced(sequence)) == 1
    rig.engine.handle(Cancel(99))
    assert len(rig.produced(sequence)) == 2, "a command may take long"
    rig.engine.step()
    rig.ask(Suspend(sequence), Suspended)
    assert len(rig.produced(sequence)) == 3
    assert not rig.engine.step()


def test_seconds_count_the_waiting(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still but for what is waited for; a chunk that nobody waits for is in the next one's time."""
    waits: list[Context] = []
    monkeypatch.setattr("hotbunk.worker.watch.perf_counter", lambda: float(len(waits)))
    monkeypatch.setattr(Context, "synchronize", lambda context: waits.append(context))
    rig.load("kquant", 0, context=1536)
    sequence = rig.start("kquant", tokens(1100), GREEDY, 6)
    rig.finish(sequence)
    ended = rig.ended(sequence)
    assert ended
    assert (ended.prefill, ended.decode) == (1.0, 5.0)
    rig.start("kquant", tokens(3), GREEDY, 30)
    rig.engine.step()
    before = len(waits)
    sequence = rig.start("kquant", tokens(1100), GREEDY, 1)
    rig.reach(sequence, 1)
    ended = rig.ended(sequence)
    assert ended
    assert (ended.prefill, len(waits) - before) == (3.0, 6), "neighbours do not pay for each other"
