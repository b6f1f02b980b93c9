"""A sequence saved at any token and restored anywhere goes on bit by bit as if nothing had been."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hotbunk.errors import EngineError
from hotbunk.llama.context import Context
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model

Saved = dict[int, NDArray[np.uint8]]
TOKENS = np.random.default_rng(5).integers(1000, 40000, 2000).tolist()


def _advance(
    context: Context, slot: int, start: int, prefills: list[int], end: int, keep: tuple[int, ...] = ()
) -> tuple[list[NDArray[np.float32]], Saved]:
    """Prefill up to each of ``prefills``, then decode up to ``end``; keep the states at some positions."""
    rows, saved, at = [], {}, start
    while at < end:
        until = next((border for border in prefills if border > at), at + 1)
        if until > at + 1:
            context.prefill(slot, at, TOKENS[at:until], output=True)
        else:
            context.decode([(TOKENS[at], at, slot)])
        rows.append(context.logits(-1).copy())
        at = until
        if at in keep:
            saved[at] = _save(context, slot)
    return rows, saved


def _save(context: Context, slot: int) -> NDArray[np.uint8]:
    state = np.empty(context.state_size(slot), np.uint8)
    context.save(slot, state)
    return state


def _same(model: Model, length: int, prefills: list[int], end: int, keep: tuple[int, ...]) -> None:
    context = model.context(length, 2)
    rows, saved = _advance(context, 0, 0, prefills, end, keep)
    context.close()
    assert set(saved) == set(keep)
    for index, (at, state) in enumerate(saved.items()):
        slots = 1 + index % 3  # a state goes into any slot of a context of any number of slots
        context = model.context(length, slots)
        context.prefill(slots - 1, 0, TOKENS[7:20], output=False)
        context.restore(slots - 1, state)
        state = _save(context, slots - 1)  # saved again at once, it is as good
        context.clear(slots - 1)
        context.restore(slots - 1, state)
        rest, _ = _advance(context, slots - 1, at, prefills, end)
        assert all(np.array_equal(a, b) for a, b in zip(rest, rows[-len(rest) :], strict=True)), f"from {at}"
        context.close()


@pytest.mark.parametrize("name", ["smollm2", "kquant"])
def test_a_restored_sequence_goes_on_exactly(name: str, spec: str, request: pytest.FixtureRequest) -> None:
    model = Model(Path(request.getfixturevalue(name)), open_device(spec), 1)
    model.promote(model.layers // 2)
    _same(model, 300, [64, 128, 150], 158, (64, 128, 150, 151, 157))
    model.close()


def test_past_the_sliding_window_too(gemma3: Path) -> None:
    model = Model(gemma3, open_device("cpu"), 1)
    # a window of 512 in a ring of 1024 cells: past the window; come round in prefill and in decoding
    _same(model, 1200, [500, 700, 1000, 1040], 1046, (700, 1000, 1040, 1043))
    model.close()


def test_past_the_window_on_a_device(gemma3: Path, rpc_device: str) -> None:
    model = Model(gemma3, open_device(rpc_device), 1)
    model.promote(model.layers // 2)
    _same(model, 800, [400, 600], 604, (600, 602))
    model.close()


def test_room_of_the_wrong_size_is_refused(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    context = model.context(256, 1)
    context.prefill(0, 0, TOKENS[:9], output=False)
    room = np.empty(context.state_size(0) - 1, np.uint8)
    with pytest.raises(EngineError, match=f"could not save slot 0 in {room.nbytes} bytes"):
        context.save(0, room)
    model.close()


def test_a_broken_state_empties_the_slot(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    context = model.context(256, 2)
    _, saved = _advance(context, 0, 0, [30], 30, (30,))
    for broken in (saved[30][:-40], np.zeros(100, np.uint8), np.zeros(0, np.uint8)):
        with pytest.raises(EngineError, match="does not take the state"):
            context.restore(1, broken)
        context.prefill(1, 0, TOKENS[:5], output=True)
        context.clear(1)
    model.close()


def test_too_many_tokens_are_refused(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    context = model.context(256, 1)
    context.prefill(0, 0, TOKENS[:256], output=True)
    with pytest.raises(EngineError, match="the slot has no room for more tokens"):
        context.decode([(5, 256, 0)])
    with pytest.raises(EngineError, match="the batch is not valid"):
        context.decode([(5, 999, 0)])
    context.clear(0)
    with pytest.raises(EngineError, match="the batch is not valid"):
        context.decode([(10**9, 0, 0)])
    with pytest.raises(EngineError, match="no logits at index 7"):
        context.logits(7)
    model.close()
