"""Layers come and go, and the model stays what it is."""

from pathlib import Path

import numpy as np
import pytest

from hotbunk.errors import EngineError, UnusableModel
from hotbunk.llama import lib, tensor
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model

from .answers import PROMPT, answer, ordinary


def test_answers_equal_those_of_an_ordinary_load(path: Path, spec: str) -> None:
    model = Model(path, open_device(spec), 1)
    assert model.movable
    steps = (model.layers, 0, model.layers // 2, 1, model.layers)
    expected = {layers: ordinary(path, spec, layers) for layers in set(steps)}
    for layers in steps:
        model.promote(layers)
        assert model.residency == layers
        assert np.array_equal(answer(model), expected[layers]), f"at {layers} layers"
    model.close()


def test_only_layers_that_change_side_are_copied(kquant: Path, spec: str) -> None:
    model = Model(kquant, open_device(spec), 1)
    everything = model.promote(model.layers)
    assert everything == model.weights - 4 * 32 or spec == "cpu"  # the rotary frequencies are libllama's
    assert model.promote(model.layers - 2) == 0
    assert 0 < model.promote(model.layers) < everything / 2
    assert model.promote(0) == 0
    assert model.device_weights == 0
    model.close()


def test_the_device_gets_its_memory_back(smollm2: Path) -> None:
    model = Model(smollm2, open_device("cpu"), 1)

    def cycle() -> None:
        model.promote(model.layers)
        model.context(256, 2).close()
        model.promote(0)

    for _ in range(10):
        cycle()
    before = _anonymous()
    for _ in range(60):
        cycle()
    assert _anonymous() - before < 4 << 20
    model.close()


def _anonymous() -> int:
    """Bytes of this process that are no file's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def test_an_impossible_residency_is_refused(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    with pytest.raises(EngineError, match="has 5 layers; a residency of 6 is impossible"):
        model.promote(6)
    context = model.context(256, 1)
    with pytest.raises(EngineError, match="while it has a context"):
        model.promote(5)
    context.close()
    assert model.promote(5)
    model.close()


def test_a_full_device_leaves_the_model_as_it_was(kquant: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(kquant, open_device(spec), 1)
    model.promote(2)
    expected = answer(model)
    allocate, calls = lib.bind(lib.base, "ggml_backend_buft_alloc_buffer", lib.Pointer, lib.Pointer, lib.Size), []

    def full(kind: int, size: int) -> int | None:
        calls.append(size)
        return allocate(kind, size) if len(calls) < 2 else None

    monkeypatch.setattr("hotbunk.llama.piece._alloc_buffer", full)
    with pytest.raises(EngineError, match=r"has no room for \d+ bytes of weights"):
        model.promote(model.layers)
    assert model.residency == 2
    assert np.array_equal(answer(model), expected)
    model.close()


def test_a_tied_head_can_be_a_tensor_of_its_own(kquant: Path, rpc_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor, "supports_lookup", lambda device, embedding: False)
    model = Model(kquant, open_device(rpc_device), 1)
    for layers in (3, model.layers, 0, 1):
        model.promote(layers)
        assert np.array_equal(answer(model), ordinary(kquant, rpc_device, layers))
        assert model.device_weights == model.predict(layers, 256, 2).device.weights
    model.close()


@pytest.mark.parametrize(("broken", "value"), [("_MAP", "_Z7missing"), ("_STRUCT", 16), ("_ENTRY", 48)])
def test_without_live_moves_models_load_the_ordinary_way(
    kquant: Path, spec: str, broken: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor, broken, value)
    tensor.check.cache_clear()
    try:
        model = Model(kquant, open_device(spec), 1)
        assert not model.movable
        assert any(part in model.reason for part in ("_Z7missing", "ggml_tensor.data", "tensor map"))
        for layers in (3, model.layers, 0):
            model.promote(layers)
            assert model.residency == layers
            assert model.device_weights == model.predict(layers, 256, 2).device.weights
            assert np.array_equal(answer(model), ordinary(kquant, spec, layers))
        model.close()
    finally:
        tensor.check.cache_clear()


def test_what_libllama_refuses_is_said_in_its_words(kquant: Path, tmp_path: Path) -> None:
    crippled = tmp_path / "crippled.gguf"
    crippled.write_bytes(kquant.read_bytes().replace(b"blk.2.attn_q.weight", b"blk.2.attn_z.weight"))
    with pytest.raises(EngineError, match=r"cannot open crippled.gguf: .*tensor 'blk.2.attn_q.weight' not found"):
        Model(crippled, open_device("cpu"), 1)
    crippled.write_bytes(kquant.read_bytes()[:-4096])
    with pytest.raises(UnusableModel, match="crippled"):
        Model(crippled, open_device("cpu"), 1)


def test_neighbours_do_not_change_a_sequence(path: Path) -> None:
    model = Model(path, open_device("cpu"), 1)
    context = model.context(320, 3)
    context.prefill(0, 0, PROMPT, output=False)
    context.decode([(77, len(PROMPT), 0)])
    alone = context.logits(0).copy()
    for slot, count in ((0, len(PROMPT)), (1, 300), (2, 9)):
        context.clear(slot)
        context.prefill(slot, 0, list(range(1000, 1000 + count)) if slot else PROMPT, output=False)
    context.decode([(78, 300, 1), (77, len(PROMPT), 0), (79, 9, 2)])
    assert np.array_equal(context.logits(1), alone)
    model.close()
