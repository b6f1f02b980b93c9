"""Layers come and go, and the model stays what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hotbunk.errors import EngineError, OutOfMemory, UnusableModel
from hotbunk.llama import lib, tensor
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model
from tests.models import recurrent, split

from .answers import PROMPT, answer, greedy, ordinary


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


def test_no_more_threads_are_woken_than_have_something_to_do(kquant: Path, spec: str) -> None:
    model, count = Model(kquant, open_device(spec), 2), lib.api.llama_n_threads
    model.promote(model.layers)
    context = model.context(256, 2)
    for layers in (model.layers, model.layers - 1, model.layers):
        model.promote(layers, cached=model.layers)
        context.prefill(0, 0, PROMPT, output=True)
        assert count(context.handle) == 2
        context.decode([(PROMPT[0], len(PROMPT), 0)])
        assert count(context.handle) == (1 if layers == model.layers and spec != "cpu" else 2)
        context.clear(0)
    model.close()


def test_an_impossible_residency_is_refused(kquant: Path, rpc_device: str) -> None:
    model = Model(kquant, open_device(rpc_device), 1)
    with pytest.raises(EngineError, match="has 5 layers; a residency of 6 is impossible"):
        model.promote(6)
    context = model.context(256, 1)
    with pytest.raises(EngineError, match="cannot move its KV cache while it has a context"):
        model.promote(5)
    context.close()
    assert model.promote(5)
    model.close()


def test_a_context_outlives_the_layers_that_leave_and_come(path: Path, spec: str) -> None:
    model = Model(path, open_device(spec), 1)
    model.promote(model.layers)
    expected = answer(model)
    context = model.context(256, 2)
    for layers in (model.layers - 1, 1, model.layers, model.layers // 2, model.layers):
        foretold = model.predict(layers, 256, 2, cached=model.layers)
        model.promote(layers, cached=model.layers)
        assert model.device_weights == foretold.device.weights
        assert (context.device.kv, context.device.compute) == (foretold.device.kv, foretold.device.compute)
        rows = greedy(context)
        # what libllama itself says once it has planned its graphs anew
        assert (context.device.kv, context.host.kv) == (foretold.device.kv, foretold.host.kv)
        assert context.device.compute <= foretold.device.compute
        assert foretold.device.total <= 1.03 * (model.device_weights + context.device.total)
        assert context.host.compute <= foretold.host.compute
        assert layers < model.layers or np.allclose(rows, expected, atol=1e-3)
    model.close()


def test_a_graph_with_views_of_weights_follows_them(tmp_path: Path) -> None:
    model = Model(recurrent(tmp_path), open_device("cpu"), 1)
    context, rows = model.context(256, 1), list[NDArray[np.float32]]()
    for step, layers in enumerate((model.layers, 0, model.layers, 2)):
        context.decode([(7, step, 0)])  # plans a graph, which the next one would be evaluated by
        rows.append(context.logits(-1).copy())
        model.promote(layers)
    context.clear(0)
    for step, row in enumerate(rows):
        context.decode([(7, step, 0)])
        assert np.array_equal(context.logits(-1), row)
    model.close()


def test_experts_can_stay_on_the_host(experts: Path, spec: str) -> None:
    model = Model(experts, open_device(spec), 1)
    assert model.mixed
    expected = ordinary(experts, spec, model.layers)
    everything = model.promote(model.layers)
    assert np.array_equal(answer(model), expected)
    for count in (0, 2, 4):
        foretold = model.predict(model.layers, 256, 2, experts=count)
        model.promote(model.layers, experts=count)
        assert model.device_weights == foretold.device.weights
        context = model.context(256, 2)
        assert context.device == replace(foretold.device, weights=0)
        assert np.allclose(greedy(context), expected, atol=1e-3)
        context.close()
    model.promote(0)
    assert model.promote(model.layers, experts=0) < everything * 0.7  # the rest is a large vocabulary
    with pytest.raises(EngineError, match="the experts of 0 to 1 blocks there, not of 2"):
        model.promote(2, experts=2)
    model.close()


def test_a_mixture_gives_up_experts_before_layers(experts: Path, rpc_device: str) -> None:
    model = Model(experts, open_device(rpc_device), 1)
    full = model.predict(model.layers, 256, 2).device.total
    bare = model.predict(model.layers, 256, 2, experts=0).device.total
    most = model.fit(full - 1, 256, 2)
    assert most is not None and (most.layers, most.experts) == (model.layers, model.layers - 2)
    none = model.fit(bare, 256, 2)
    assert none is not None and (none.layers, none.experts) == (model.layers, 0)
    fewer = model.fit(bare - 1, 256, 2)
    assert fewer is not None and fewer.layers == model.layers - 1 and fewer.experts == 0
    model.close()


@pytest.mark.parametrize("name", ["smollm2", "gemma3", "kquant", "experts"])
def test_a_copy_in_host_memory_stands_for_the_file(name: str, spec: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    model = Model(path, open_device(spec), 1)
    expected = {layers: ordinary(path, spec, layers) for layers in (0, model.layers // 2, model.layers)}
    model.promote(model.layers // 2)
    copy = model.copy()
    assert copy is not None and copy.fill() and copy.done == copy.size
    model.adopt(copy)
    for layers in (model.layers // 2, 0, model.layers, model.layers // 2):
        model.promote(layers)
        model.settle()
        assert np.array_equal(answer(model), expected[layers]), f"at {layers} layers"
    model.adopt(None)
    copy.free()
    for layers in (model.layers // 2, model.layers):
        model.promote(layers)
        assert np.array_equal(answer(model), expected[layers]), f"at {layers} layers, from the file again"
    model.close()


@pytest.mark.parametrize("second_head", [False, True])
def test_a_copy_is_filled_whatever_becomes_of_the_shell(
    kquant: Path, rpc_device: str, second_head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor, "supports_lookup", lambda device, embedding: not second_head)
    model = Model(kquant, open_device(rpc_device), 1)
    model.promote(2)
    expected, copy = answer(model), model.copy()
    assert copy is not None
    for layers in (4, 3, 1, 5):  # more than shells are kept for
        model.promote(layers)
    assert copy.fill()
    model.adopt(copy)
    for layers in (0, 2):
        model.promote(layers)
    assert np.array_equal(answer(model), expected)
    model.close()
    copy.free()


def test_a_copy_of_splits_is_whole(kquant: Path, tmp_path: Path) -> None:
    files, device = split(kquant, tmp_path, 9), open_device("cpu")
    whole, model = Model(kquant, device, 1), Model(files[0], device, 1)
    copy = model.copy()
    assert len(files) > 2 and copy is not None and copy.fill()
    model.adopt(copy)
    assert np.array_equal(answer(model), answer(whole))
    for each in (whole, model):
        each.close()
    copy.free()


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"GGUF")])
def test_a_file_that_is_gone_is_said_so(kquant: Path, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "fleeting.gguf"
    path.write_bytes(kquant.read_bytes())
    model = Model(path, open_device("cpu"), 1)
    copy = model.copy()
    spoil(path)
    assert copy is not None
    with pytest.raises(EngineError, match=r"fleeting.gguf (cannot be read any more|is another file by now)"):
        copy.fill()
    copy.free()
    model.close()


def test_a_file_that_was_replaced_is_not_mixed_with_what_is_loaded(
    kquant: Path, rpc_device: str, tmp_path: Path
) -> None:
    path, newer = tmp_path / "m.gguf", tmp_path / "newer.gguf"
    for file in (path, newer):
        file.write_bytes(kquant.read_bytes())
    model = Model(path, open_device(rpc_device), 1)
    model.promote(2)
    expected, copy = answer(model), model.copy()
    newer.replace(path)
    assert copy is not None
    for use in (copy.fill, lambda: model.predict(1, 256, 2), lambda: model.promote(4)):
        with pytest.raises(EngineError, match=r"m\.gguf is another file by now; restart hotbunk to serve it"):
            use()
    assert model.residency == 2
    assert np.array_equal(answer(model), expected)
    copy.free()
    model.close()


def test_a_copy_that_is_stopped_is_not_whole(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    copy = model.copy()
    assert copy is not None
    copy.stop()
    assert not copy.fill()
    assert copy.done < copy.size
    copy.free()
    model.close()


def test_a_full_device_leaves_the_model_as_it_was(kquant: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(kquant, open_device(spec), 1)
    model.promote(2)
    expected = answer(model)
    allocate, calls = lib.bind(lib.base, "ggml_backend_buft_alloc_buffer", lib.Pointer, lib.Pointer, lib.Size), []

    def full(kind: int, size: int) -> int | None:
        calls.append(size)
        return allocate(kind, size) if len(calls) < 2 else None

    monkeypatch.setattr("hotbunk.llama.pool._alloc_buffer", full)
    with pytest.raises(OutOfMemory, match=r"has no room for \d+ bytes of weights"):
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


def test_a_second_head_that_finds_no_room_can_come_later(
    kquant: Path, rpc_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor, "supports_lookup", lambda device, embedding: False)
    model = Model(kquant, open_device(rpc_device), 1)
    model.promote(2)

    def full(*_: object) -> None:
        raise EngineError("no room for a head")

    with monkeypatch.context() as patch:
        patch.setattr("hotbunk.llama.weights.Shell", full)
        with pytest.raises(EngineError, match="no room for a head"):
            model.promote(model.layers)  # nor can the shell come back that made way
        model.park()
        assert model.device_weights == 0
    for layers in (model.layers, 2):
        model.promote(layers)
        assert np.array_equal(answer(model), ordinary(kquant, rpc_device, layers))
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
    """Of a model with quantised weights, as these are: rows of F16 the CPU multiplies otherwise when there are more."""
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


def test_what_is_evaluated_along_changes_nothing_and_is_forgotten(path: Path, spec: str) -> None:
    model = Model(path, open_device(spec), 1)
    model.promote(model.layers // 2)
    context, found = model.context(320, 3), list[NDArray[np.float32]]()
    for along in ((), (1,)):
        for slot, prompt in ((0, PROMPT), (2, list(range(1000, 1300)))):
            context.clear(slot)
            context.prefill(slot, 0, prompt, output=False)
        for step in range(2):
            context.decode([(77, len(PROMPT) + step, 0), (78, 300 + step, 2)], along)
        found.append(np.stack([context.logits(index) for index in (-2, -1)]))
    assert np.array_equal(found[0], found[1])
    context.prefill(1, 0, PROMPT, output=True)
    assert np.array_equal(context.logits(-1), answer(model)[0])
    model.close()


def test_many_slots_answer_as_few_do(path: Path, spec: str) -> None:
    model = Model(path, open_device(spec), 1)
    model.promote(model.layers // 2)
    assert np.array_equal(greedy(model.context(256, 32), 31), answer(model))
    model.close()
