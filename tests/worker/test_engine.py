"""The engine's answers to commands: good ones, bad ones, and those that come in bad moments."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotbunk.errors import EngineError
from hotbunk.llama.device import open_device
from hotbunk.llama.pool import pool
from hotbunk.placement import Placement
from hotbunk.sampling import Sampling
from hotbunk.worker.protocol import (
    Cancel,
    Command,
    Ended,
    Load,
    Loaded,
    Open,
    Opened,
    Predict,
    Produced,
    Resize,
    Resume,
    Resumed,
    Shutdown,
    Start,
    Suspend,
    Suspended,
    Trim,
    Unload,
    Unloaded,
)
from tests.worker.rig import SAMPLINGS, Rig, tokens

GREEDY = SAMPLINGS["greedy"]


@pytest.fixture(scope="module")
def opened(smollm2: Path, gemma3: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig("cpu", "cpu", {"smollm2": smollm2, "gemma3": gemma3}, tmp_path_factory.mktemp("spill"))
    yield rig
    rig.engine.close()


@pytest.fixture
def rig(opened: Rig) -> Iterator[Rig]:
    yield opened
    opened.clear()


# ---------------------------------------------------------------- sequences


def test_models_and_sequences_take_turns(rig: Rig) -> None:
    rig.load("smollm2", 3)
    rig.load("gemma3", 3)
    both = [rig.start(model, tokens(4), GREEDY, 8) for model in ("smollm2", "gemma3")]
    rig.run()
    order = [report.model for report in rig.reports if isinstance(report, Produced)]
    assert order == ["smollm2", "gemma3"] * 8 or order == ["gemma3", "smollm2"] * 8
    assert all(len(rig.produced(sequence)) == 8 for sequence in both)


def test_sequences_of_a_model_decode_together(rig: Rig) -> None:
    rig.load("smollm2", 0, slots=3)
    for n in range(3):
        rig.start("smollm2", tokens(4, n), GREEDY, 6)
    rig.run()
    sizes = [len(report.tokens) for report in rig.reports if isinstance(report, Produced)]
    assert max(sizes) == 3
    assert sum(sizes) == 18


def test_ends_at_a_stop_token_which_is_not_reported(rig: Rig) -> None:
    rig.load("smollm2", 0)
    want = rig.finish(rig.start("smollm2", tokens(4), GREEDY, 8))
    stop = want[4]
    first = want.index(stop)
    sequence = rig.start("smollm2", tokens(4), GREEDY, 8, stop_tokens=[stop])
    assert rig.finish(sequence) == want[:first]
    ended = rig.ended(sequence)
    assert ended
    assert ended.reason == "stop"
    assert ended.prefill > 0
    assert rig.reports[-1] == ended, "Ended comes last"


def test_ends_when_the_context_is_full(rig: Rig) -> None:
    rig.load("smollm2", 0, context=256)
    sequence = rig.start("smollm2", tokens(250), GREEDY, 1000)
    assert len(rig.finish(sequence)) == 6
    ended = rig.ended(sequence)
    assert ended
    assert ended.reason == "length"


def test_log_probabilities_where_asked_for(rig: Rig) -> None:
    rig.load("smollm2", 0)
    for count in (0, 3):
        rig.start("smollm2", tokens(4), Sampling(seed=1), 5, logprobs=count)
    rig.run()
    produced = [token for report in rig.reports if isinstance(report, Produced) for token in report.tokens]
    for token in produced:
        assert token.logprob is not None
        assert token.top is not None
        assert token.logprob <= 0
        assert len(token.top) in (0, 3)
        assert token.top == sorted(token.top, key=lambda pair: -pair[1])
    assert any(token.top for token in produced)


def test_a_second_life_counts_what_was_generated_before(rig: Rig) -> None:
    rig.load("smollm2", 0)
    want = rig.finish(rig.start("smollm2", tokens(4), SAMPLINGS["schema"], 10))
    sequence = rig.start("smollm2", tokens(4), SAMPLINGS["schema"], 10, generated=want[:6])
    assert len(rig.finish(sequence)) == 4, "none is reported again, and all count for max_tokens"
    again = rig.start("smollm2", tokens(4), GREEDY, 6, generated=want[:6])
    assert rig.finish(again) == []
    full = rig.start("smollm2", tokens(250), GREEDY, 60, generated=tokens(6))
    assert rig.finish(full) == []


def test_cancel_frees_the_slot_at_once(rig: Rig) -> None:
    rig.load("smollm2", 0, slots=1)
    running = rig.start("smollm2", tokens(4), GREEDY, 50)
    rig.engine.step()
    rig.start("smollm2", tokens(4), GREEDY, 5)
    assert rig.failed() == "all 1 slots of model smollm2 are taken: wait, or suspend one"
    assert rig.ask(Cancel(running), Ended).reason == "cancelled"
    assert len(rig.finish(rig.start("smollm2", tokens(4), GREEDY, 5))) == 5


@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
def test_a_slot_that_falls_empty_between_others_changes_no_answer(rig: Rig, model: str) -> None:
    rig.load(model, 2, context=640, slots=3)
    prompts = [tokens(4), tokens(5), tokens(6), tokens(530)]  # the last one's second chunk comes between their steps
    first, _, third, fourth = (rig.finish(rig.start(model, prompt, GREEDY, 12)) for prompt in prompts)
    left, middle, right = (rig.start(model, prompt, GREEDY, 12) for prompt in prompts[:3])
    rig.reach(right, 3)
    rig.ask(Cancel(middle), Ended)
    rig.reach(right, 6)
    late = rig.start(model, prompts[3], GREEDY, 12)
    assert (rig.finish(left), rig.finish(right), rig.finish(late)) == (first, third, fourth)


def test_cancel_in_any_state(rig: Rig) -> None:
    rig.load("smollm2", 0)
    fresh = rig.start("smollm2", tokens(4), GREEDY, 50)
    assert rig.ask(Cancel(fresh), Ended).reason == "cancelled"
    suspended = rig.start("smollm2", tokens(4), GREEDY, 50)
    rig.engine.step()
    assert rig.ask(Suspend(suspended), Suspended).size == rig.arena.held > 0
    assert rig.ask(Cancel(suspended), Ended).reason == "cancelled"
    assert rig.arena.held == 0
    count = len(rig.reports)
    for command in (Cancel(suspended), Suspend(suspended), Resume(suspended), Cancel(99)):
        rig.engine.handle(command)
    assert len(rig.reports) == count, "what has just ended is none of our business"


def test_suspended_before_its_first_chunk(rig: Rig) -> None:
    rig.load("smollm2", 0)
    want = rig.finish(rig.start("smollm2", tokens(4), GREEDY, 5))
    sequence = rig.start("smollm2", tokens(4), GREEDY, 5)
    assert rig.ask(Suspend(sequence), Suspended).size == 0
    rig.run()
    assert rig.produced(sequence) == []
    rig.ask(Resume(sequence), Resumed)
    assert rig.finish(sequence) == want


def test_a_state_that_cannot_be_restored_ends_its_sequence(rig: Rig) -> None:
    rig.load("smollm2", 0)
    broken = rig.start("smollm2", tokens(4), GREEDY, 5)
    other = rig.start("smollm2", tokens(4), GREEDY, 5)
    rig.reach(broken, 2)
    rig.engine.handle(Suspend(broken))
    with rig.arena.take(broken) as state:
        size = state.nbytes
    with rig.arena.reserve(broken, size) as state:
        state[:] = 0
    ended = rig.ask(Resume(broken), Ended)
    assert ended.reason == "error"
    assert "cannot be restored" in ended.message
    assert len(rig.finish(other)) == 5


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Start(900, "smollm2", tokens(256), GREEDY, 5, []), "prompt of 256 tokens .* context of 256 tokens"),
        (Start(900, "smollm2", [], GREEDY, 5, []), "empty prompt"),
        (Start(900, "smollm2", [1, -7], GREEDY, 5, []), "token -7, the model's are 0 to 49151"),
        (Start(900, "smollm2", [1, 49152], GREEDY, 5, []), "token 49152, the model's are 0 to 49151"),
        (Start(900, "smollm2", [1], GREEDY, 0, []), "asks for 0 tokens"),
        (Start(900, "smollm2", [1], Sampling(grammar="root ::= ("), 5, []), "grammar"),
        (Start(900, "smollm2", [1], Sampling(logit_bias={99999: 1.0}), 5, []), "99999"),
        (Start(900, "gemma3", [1], GREEDY, 5, []), "gemma3 is not loaded"),
        (Start(900, "llama", [1], GREEDY, 5, []), "llama is not open here .open: smollm2, gemma3"),
        (Load("smollm2", Placement(1, 256, 1)), "smollm2 is loaded already"),
        (Load("gemma3", Placement(77, 256, 1)), "has 19 layers, not 77"),
        (Load("gemma3", Placement(1, 0, 1)), "1 slots of 0 tokens"),
        (Resize("gemma3", Placement(1, 256, 1)), "gemma3 is not loaded"),
        (Open("smollm2", "/nowhere"), "open already"),
        (Open("new", "/nowhere/at.all"), r"at\.all: cannot be read: No such file"),
        (Predict("smollm2", 256, 2, None, 1000), r"needs \d+ bytes on the device even with no layer"),
    ],
)
def test_bad_commands_harm_nobody(rig: Rig, command: Command, message: str) -> None:
    rig.load("smollm2", 0)
    neighbour = rig.start("smollm2", tokens(4), GREEDY, 5)
    rig.engine.handle(command)
    assert re.search(message, rig.failed()), rig.failed()
    assert len(rig.finish(neighbour)) == 5


def test_a_model_that_is_open_can_be_asked_for_again(rig: Rig, smollm2: Path) -> None:
    rig.load("smollm2", 0)
    neighbour = rig.start("smollm2", tokens(4), GREEDY, 5)
    assert rig.ask(Open("smollm2", str(smollm2)), Opened).layers == 31
    assert len(rig.finish(neighbour)) == 5


def test_a_number_in_use(rig: Rig) -> None:
    rig.load("smollm2", 0)
    sequence = rig.start("smollm2", tokens(4), GREEDY, 5)
    rig.engine.handle(Start(sequence, "smollm2", [1], GREEDY, 5, []))
    assert rig.failed() == f"sequence {sequence} exists already: give each its own number"
    rig.engine.handle(Resume(sequence))
    assert rig.failed() == f"sequence {sequence} runs already"
    rig.engine.handle(Suspend(sequence))
    rig.engine.handle(Suspend(sequence))
    assert "suspended already" in rig.failed()


def test_a_grammar_that_comes_to_a_dead_end(rig: Rig) -> None:
    """Only its own sequence ends."""
    rig.load("smollm2", 0)
    dead = rig.start("smollm2", tokens(4), Sampling(temperature=0, grammar='root ::= "a" [\\U0010FFFF] "b"'), 9)
    other = rig.start("smollm2", tokens(4), GREEDY, 9)
    rig.run()
    assert rig.ended(dead)
    assert len(rig.finish(other)) == 9


def test_a_failed_evaluation_ends_only_its_sequences(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.load("smollm2", 0)
    victim = rig.start("smollm2", tokens(4), GREEDY, 9)
    rig.engine.step()

    def fail(*_: object) -> None:
        raise EngineError("libllama could not evaluate 1 tokens: the computation failed")

    with monkeypatch.context() as patch:
        patch.setattr("hotbunk.llama.context.Context.decode", fail)
        rig.engine.step()
    ended = rig.ended(victim)
    assert ended
    assert (ended.reason, ended.message) == ("error", "libllama could not evaluate 1 tokens: the computation failed")
    assert len(rig.finish(rig.start("smollm2", tokens(4), GREEDY, 5))) == 5


# ---------------------------------------------------------------- moves


@pytest.mark.parametrize("device", ["cpu", "rpc"])
@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
def test_device_bytes_are_as_predicted(device: str, model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    spec = "cpu" if device == "cpu" else request.getfixturevalue("rpc_device")
    rig = Rig(device, spec, {model: request.getfixturevalue(model)}, tmp_path)
    last = rig.layers[model]
    rig.load(model, 0, 256, 1)
    for layers, context, slots in [(0, 512, 2), (1, 256, 1), (last // 2, 1024, 2), (last, 512, 4), (last - 1, 256, 1)]:
        predicted = rig.predict(model, layers, context, slots).device.total
        loaded = rig.ask(Resize(model, Placement(layers, context, slots)), Loaded)
        assert predicted * 0.97 <= loaded.device.total <= predicted
        assert rig.engine.device_bytes == loaded.device.total
    freed = rig.ask(Unload(model), Unloaded).freed
    assert freed == loaded.device.total
    assert rig.engine.device_bytes == 0
    rig.engine.handle(Shutdown())


def test_opening_a_shell_is_told_apart_from_the_bytes(smollm2: Path, rpc_device: str, tmp_path: Path) -> None:
    """The first time that a residency is taken libllama opens the file for it, which has nothing to do with moving."""
    rig = Rig("rpc", rpc_device, {"smollm2": smollm2}, tmp_path)
    first = rig.ask(Load("smollm2", rig.predict("smollm2", 20)), Loaded)
    assert first.steps["shell"] > 0
    assert first.steps["promote"] + first.steps["shell"] <= first.seconds
    rig.ask(Unload("smollm2"), Unloaded)
    again = rig.ask(Load("smollm2", rig.predict("smollm2", 20)), Loaded)
    assert "shell" not in again.steps
    rig.engine.handle(Shutdown())


def test_largest_residency_within_a_budget(rig: Rig) -> None:
    budget = rig.predict("smollm2", 11).device.total
    rig.engine.handle(Predict("smollm2", 256, 2, None, budget))
    assert rig.reports[-1].placement == rig.predict("smollm2", 11)  # type: ignore[union-attr]


def test_a_resize_to_fewer_slots_suspends_the_youngest(rig: Rig) -> None:
    rig.load("smollm2", 2, slots=3)
    old, middle, young = (rig.start("smollm2", tokens(4, n), GREEDY, 9) for n in range(3))
    rig.reach(young, 2)
    loaded = rig.ask(Resize("smollm2", Placement(5, 256, 2)), Loaded)
    assert set(loaded.steps) == {"kv_out", "demote", "promote", "context", "kv_in"}
    assert [r.sequence for r in rig.reports if isinstance(r, Suspended)] == [young]
    assert len(rig.finish(old)) == len(rig.finish(middle)) == 9
    assert len(rig.produced(young)) < 9
    rig.ask(Resume(young), Resumed)
    assert len(rig.finish(young)) == 9


def test_a_resize_to_a_shorter_context_keeps_what_is_too_long(rig: Rig) -> None:
    rig.load("smollm2", 2, context=512)
    long, short = rig.start("smollm2", tokens(300), GREEDY, 9), rig.start("smollm2", tokens(3), GREEDY, 9)
    rig.reach(short, 2)
    rig.ask(Resize("smollm2", Placement(2, 256, 2)), Loaded)
    assert [r.sequence for r in rig.reports if isinstance(r, Suspended)] == [long]
    rig.engine.handle(Resume(long))
    assert "a slot of smollm2 now holds 256: load it with a longer context" in rig.failed()
    assert len(rig.finish(short)) == 9
    rig.ask(Resize("smollm2", Placement(2, 512, 2)), Loaded)
    rig.ask(Resume(long), Resumed)
    assert len(rig.finish(long)) == 9


@pytest.mark.parametrize("stage", ["model.Model.promote", "model.Model.context"])
def test_a_resize_that_fails_leaves_it_unloaded_and_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    rig.load("smollm2", 2)
    want = rig.finish(rig.start("smollm2", tokens(4), GREEDY, 9))
    sequence = rig.start("smollm2", tokens(4), GREEDY, 9)
    rig.reach(sequence, 4)
    fail_once(monkeypatch, stage)
    rig.engine.handle(Resize("smollm2", Placement(2, 256, 1)))
    assert rig.failed() == "the device refused"
    suspended = rig.reports[-2]
    assert isinstance(suspended, Suspended)
    assert suspended.sequence == sequence
    assert rig.engine.device_bytes == 0
    fail_once(monkeypatch, stage)
    rig.engine.handle(Load("smollm2", Placement(2, 256, 1)))
    assert rig.failed() == "the device refused"
    rig.load("smollm2", 2, slots=1)
    rig.ask(Resume(sequence), Resumed)
    assert rig.finish(sequence) == want


def fail_once(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise EngineError("the device refused")

    monkeypatch.setattr(f"hotbunk.llama.{stage}", fail)


def test_loading_and_unloading_for_ever_leaves_memory_where_it_was(rig: Rig) -> None:
    def cycle(count: int) -> None:
        for _ in range(count):
            rig.engine.handle(Load("smollm2", Placement(2, 64, 1)))
            rig.engine.handle(Unload("smollm2"))
        assert isinstance(rig.reports[-1], Unloaded)
        rig.reports.clear()

    cycle(50)
    before = _resident()
    cycle(1000)
    assert _resident() - before < 8 << 20
    assert rig.engine.device_bytes == 0


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- memory that is spared


def test_a_model_that_comes_back_takes_what_was_spared(rig: Rig) -> None:
    kept = pool(open_device("cpu"))
    place = rig.load("smollm2", 12).placement
    want = rig.finish(rig.start("smollm2", tokens(4), GREEDY, 8))
    rig.engine.handle(Unload("smollm2", spare=1 << 30))
    assert kept.bytes >= place.device.weights > 0
    rig.ask(Load("smollm2", place), Loaded)
    assert kept.bytes == 0
    assert rig.finish(rig.start("smollm2", tokens(4), GREEDY, 8)) == want


def test_what_was_spared_goes_when_another_model_needs_the_room(rig: Rig) -> None:
    kept = pool(open_device("cpu"))
    rig.load("smollm2", 12)
    rig.engine.handle(Unload("smollm2", spare=1 << 30))
    rig.load("gemma3", 3)
    assert kept.bytes == 0


def test_what_was_spared_goes_when_it_is_asked_for(rig: Rig) -> None:
    kept = pool(open_device("cpu"))
    rig.load("smollm2", 12)
    rig.engine.handle(Unload("smollm2", spare=1 << 30))
    rig.engine.handle(Trim(0))
    assert kept.bytes == 0
