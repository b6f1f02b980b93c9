"""Sequences suspended to each tier of the arena: the reports say which, and all go on as if nothing had been."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotbunk.errors import EngineError
from hotbunk.llama.context import Context
from hotbunk.worker.protocol import Ended, Resume, Resumed, Suspend, Suspended, Unload, Unloaded
from tests.worker.rig import SAMPLINGS, Rig, tokens

BLOCK = 2 << 20


@pytest.fixture(scope="module")
def opened(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig("cpu", "cpu", {"smollm2": smollm2}, tmp_path_factory.mktemp("spill"), held=BLOCK, pinned=BLOCK)
    yield rig
    rig.engine.close()


@pytest.fixture
def rig(opened: Rig) -> Iterator[Rig]:
    opened.load("smollm2", 1, slots=5)
    yield opened
    opened.clear()


def test_from_every_tier(rig: Rig) -> None:
    def start() -> list[int]:
        return [rig.start("smollm2", tokens(30 + n, n), SAMPLINGS["seeded"], 9) for n in range(5)]

    first = start()
    rig.run()
    again = start()
    rig.reach(again[-1], 3)
    suspended = [rig.ask(Suspend(sequence), Suspended) for sequence in again]
    assert {report.tier for report in suspended} == {"pinned"}, "the youngest is always in the block"
    assert rig.arena.pinned <= BLOCK
    assert rig.arena.held <= BLOCK
    assert rig.arena.pinned + rig.arena.held + rig.arena.spilled == sum(report.size for report in suspended)
    resumed = [rig.ask(Resume(sequence), Resumed) for sequence in again]
    assert [report.size for report in resumed] == [report.size for report in suspended]
    assert [report.tier for report in resumed] == ["disk", "memory", "memory", "pinned", "pinned"]
    assert (rig.arena.pinned, rig.arena.held, rig.arena.spilled) == (0, 0, 0)
    rig.run()
    assert [rig.produced(sequence) for sequence in again] == [rig.produced(sequence) for sequence in first]


def test_a_state_that_cannot_be_saved_stays_where_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    want = rig.finish(rig.start("smollm2", tokens(4), SAMPLINGS["greedy"], 6))
    sequence = rig.start("smollm2", tokens(4), SAMPLINGS["greedy"], 6)
    rig.reach(sequence, 2)

    def fail(*_: object) -> None:
        raise EngineError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Context, "save", fail)
        rig.engine.handle(Suspend(sequence))
    assert rig.failed() == "no"
    assert (len(rig.arena), rig.arena.pinned) == (0, 0)
    assert rig.finish(sequence) == want


def test_a_state_for_which_there_is_no_memory_ends_only_its_sequence(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [rig.start("smollm2", tokens(4, n), SAMPLINGS["greedy"], 6) for n in range(2)]
    rig.run()
    victim, other = (rig.start("smollm2", tokens(4, n), SAMPLINGS["greedy"], 6) for n in range(2))
    rig.reach(other, 2)
    size = Context.state_size
    with monkeypatch.context() as patched:
        patched.setattr(Context, "state_size", lambda self, slot: size(self, slot) if slot else 1 << 62)
        rig.ask(Unload("smollm2"), Unloaded)
    ended = rig.ended(victim)
    assert ended and ended.reason == "error" and "no 4611686018427387904 bytes of host memory" in ended.message
    rig.load("smollm2", 1, slots=5)
    rig.ask(Resume(other), Resumed)
    assert rig.finish(other) == rig.produced(small[1])


def test_without_memory_to_resume_a_sequence_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = rig.start("smollm2", tokens(4), SAMPLINGS["greedy"], 6)
    rig.reach(sequence, 2)
    rig.ask(Suspend(sequence), Suspended)

    def fail(*_: object) -> None:
        raise MemoryError("no memory for an array")

    monkeypatch.setattr(Context, "restore", fail)
    ended = rig.ask(Resume(sequence), Ended)
    assert (ended.reason, ended.message) == (
        "error",
        "its suspended state cannot be restored: no memory for an array",
    )
    assert len(rig.arena) == 0
