"""A preempted answer is the same answer: token by token, whatever interrupts it, wherever its layers are."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotbunk.placement import Placement
from hotbunk.worker.protocol import Command, Failed, Load, Loaded, Resize, Resume, Resumed, Suspended, Trim, Unload
from tests.worker.rig import SAMPLINGS, Rig, tokens

# for each of 6 combinations of residency and sampling: 204 in all
PLANS = {("cpu", "smollm2"): 18, ("cpu", "gemma3"): 10, ("rpc", "smollm2"): 3, ("rpc", "gemma3"): 3}
LENGTH = 11
OTHER = {"smollm2": "gemma3", "gemma3": "smollm2"}


@pytest.fixture(scope="module", params=["cpu", "rpc"])
def rig(
    request: pytest.FixtureRequest, smollm2: Path, gemma3: Path, kquant: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    spec = "cpu" if request.param == "cpu" else request.getfixturevalue("rpc_device")
    rig = Rig(
        request.param, spec, {"smollm2": smollm2, "gemma3": gemma3, "kquant": kquant}, tmp_path_factory.mktemp("spill")
    )
    yield rig
    rig.engine.close()


@pytest.fixture(autouse=True)
def _clean(rig: Rig) -> Iterator[None]:
    yield
    rig.clear()


def _layers(rig: Rig, model: str, residency: str) -> int:
    return rig.layers[model] if residency == "full" else rig.layers[model] // 3


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
@pytest.mark.parametrize("residency", ["full", "partial"])
def test_random_interruptions(rig: Rig, model: str, residency: str, sampling: str) -> None:
    layers, prompt = _layers(rig, model, residency), tokens(6)
    rig.load(model, layers)
    want = rig.finish(rig.start(model, prompt, SAMPLINGS[sampling], LENGTH))
    chance = random.Random(f"{model} {residency} {sampling}")
    for _ in range(PLANS[rig.kind, model]):
        plan = chance.sample(range(len(want)), chance.choice([1, 1, 1, 2]))
        sequence = rig.start(model, prompt, SAMPLINGS[sampling], LENGTH)
        assert rig.interrupted(model, layers, sequence, plan, lambda: rig.other(OTHER[model], 0)) == want, plan


def test_at_every_token_of_a_tied_kquant_model(rig: Rig) -> None:
    for layers in (rig.layers["kquant"], 2, 1):
        rig.load("kquant", layers)
        want = rig.finish(rig.start("kquant", tokens(6), SAMPLINGS["seeded"], LENGTH))
        sequence = rig.start("kquant", tokens(6), SAMPLINGS["seeded"], LENGTH)
        got = rig.interrupted("kquant", layers, sequence, range(LENGTH), lambda: None)
        assert got == want, layers
        rig.engine.handle(Unload("kquant"))


@pytest.mark.parametrize("rig", ["cpu"], indirect=True)
@pytest.mark.parametrize(("model", "length"), [("smollm2", 530), ("gemma3", 600)])
def test_interrupted_during_prefill(rig: Rig, model: str, length: int) -> None:
    """Chunks begin and end where they would have; Gemma's window has moved on."""
    layers, prompt = rig.layers[model] // 2, tokens(length)
    rig.load(model, layers, 768, 2)
    want = rig.finish(rig.start(model, prompt, SAMPLINGS["seeded"], 6))
    sequence = rig.start(model, prompt, SAMPLINGS["seeded"], 6)
    for chunks in range(2):
        assert not rig.produced(sequence), "the last chunk is still to come"
        rig.engine.handle(Unload(model))
        rig.other(OTHER[model], 1)
        rig.load(model, layers, 768, 3 - chunks)  # even into another number of slots
        rig.engine.handle(Resume(sequence))
        rig.engine.step()
    assert rig.finish(sequence) == want


@pytest.mark.parametrize("rig", ["cpu"], indirect=True)
@pytest.mark.parametrize("length", [505, 1018])
def test_past_the_sliding_window(rig: Rig, length: int) -> None:
    """The window moves on at 512 tokens, and the ring of its cells comes round at 1,024."""
    layers, prompt = rig.layers["gemma3"] // 2, tokens(length, 3)
    rig.load("gemma3", layers, 1536)
    want = rig.finish(rig.start("gemma3", prompt, SAMPLINGS["seeded"], 16))
    sequence = rig.start("gemma3", prompt, SAMPLINGS["seeded"], 16)
    got = rig.interrupted("gemma3", layers, sequence, [1, 6, 8, 13], lambda: rig.other("smollm2", 1), 1536)
    assert got == want


def test_several_preempted_together(rig: Rig) -> None:
    def start() -> list[int]:
        return [rig.start("smollm2", tokens(4 + n, n), s, LENGTH) for n, s in enumerate(SAMPLINGS.values())]

    rig.load("smollm2", 12, slots=4)
    first = start()
    rig.run()
    want = [rig.produced(sequence) for sequence in first]
    for count in (2, 5, 8):  # of the youngest, while all are alive
        again = start()
        rig.reach(again[-1], count)
        rig.engine.handle(Unload("smollm2"))
        suspended = [report.sequence for report in rig.reports[-4:-1] if isinstance(report, Suspended)]
        assert suspended == again
        rig.other("gemma3", 1)
        rig.load("smollm2", 12, slots=3)
        for sequence in again:
            rig.ask(Resume(sequence), Resumed)
        rig.run()
        assert [rig.produced(sequence) for sequence in again] == want


def test_resized_while_it_answers(rig: Rig) -> None:
    """Where the same layers are at the same tokens, the tokens are the same, whatever else happens in between."""
    chance = random.Random(4)
    for model in ("smollm2", "gemma3"):
        sizes = [chance.randrange(rig.layers[model] + 1) for _ in range(4)]
        answers = []
        for disturbed in (False, True):
            rig.load(model, sizes[0])
            sequence = rig.start(model, tokens(5), SAMPLINGS["seeded"], LENGTH)
            for count, layers in zip((3, 6, 10), sizes[1:], strict=True):
                rig.reach(sequence, count)
                if disturbed:  # through another residency, another number of slots, and off the device
                    rig.ask(Resize(model, Placement(rig.layers[model] - layers, 256, 3)), Loaded)
                    rig.engine.handle(Unload(model))
                    rig.load(model, layers)
                    rig.ask(Resume(sequence), Resumed)
                else:
                    rig.ask(Resize(model, Placement(layers, 256, 2)), Loaded)
            answers.append(rig.finish(sequence))
            rig.engine.handle(Unload(model))
        assert len(answers[0]) == LENGTH
        assert answers[0] == answers[1], sizes


def test_while_another_model_moves(rig: Rig) -> None:
    """libggml's RPC server forgets the graph it was given last whenever memory is given back, whosever it was."""
    rig.load("smollm2", rig.layers["smollm2"])
    want = rig.finish(rig.start("smollm2", tokens(6), SAMPLINGS["seeded"], LENGTH))
    sequence = rig.start("smollm2", tokens(6), SAMPLINGS["seeded"], LENGTH)
    wide, narrow = (rig.predict("kquant", layers, cached=5) for layers in (5, 2))
    bare = rig.predict("kquant", 0)
    moves: list[Command] = [
        Load("kquant", wide),
        Resize("kquant", narrow),
        Resize("kquant", bare),
        Unload("kquant"),
        Trim(0),
    ]
    for count, move in enumerate(moves, 3):
        rig.reach(sequence, count)
        rig.engine.handle(move)
    assert not rig.of(Failed)
    assert rig.finish(sequence) == want


def test_spilled_to_disk(rig: Rig) -> None:
    rig.load("gemma3", 5)
    want = rig.finish(rig.start("gemma3", tokens(9), SAMPLINGS["seeded"], LENGTH))
    sequence = rig.start("gemma3", tokens(9), SAMPLINGS["seeded"], LENGTH)
    rig.reach(sequence, 4)
    budget, rig.arena.budget = rig.arena.budget, 0
    rig.engine.handle(Unload("gemma3"))
    assert rig.arena.held == 0
    assert rig.arena.spilled > 0
    rig.arena.budget = budget
    rig.load("gemma3", 5)
    assert rig.ask(Resume(sequence), Resumed).size > 0
    assert rig.arena.spilled == 0
    assert rig.finish(sequence) == want


def test_a_prompt_is_evaluated_alone(rig: Rig) -> None:
    """What it leads to does not depend on who decodes meanwhile."""
    rig.load("smollm2", 3)
    want = rig.finish(rig.start("smollm2", tokens(100), SAMPLINGS["greedy"], 1))
    rig.start("smollm2", tokens(3), SAMPLINGS["seeded"], 50)
    sequence = rig.start("smollm2", tokens(100), SAMPLINGS["greedy"], 1)
    rig.reach(sequence, 1)
    assert rig.produced(sequence) == want
