"""A context: the KV cache of a model's slots, and the evaluation of tokens in them."""

from __future__ import annotations

import ctypes as C
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hotbunk.errors import EngineError, OutOfMemory
from hotbunk.llama.device import Device
from hotbunk.llama.lib import Pointer, Size, api, bind, captured, llama, words
from hotbunk.llama.memory import footprints
from hotbunk.llama.state import lay_out
from hotbunk.placement import Footprint

__all__ = ["OFFLOADED", "Context", "flashes", "measure"]

OFFLOADED = 32
"""Tokens of a batch from which on a GPU evaluates for layers on the host (ggml's ``op_offload``)."""

_CHUNK = 512  # most tokens in a prefill chunk
_PROBED = 256  # tokens of the context that is made to see what libllama chooses
_FLASH = "Flash Attention"  # in its warning that it does without


class _LlamaBatch(C.Structure):
    _fields_ = (
        ("n_tokens", C.c_int32),
        ("token", Pointer),
        ("embd", Pointer),
        ("pos", Pointer),
        ("n_seq_id", Pointer),
        ("seq_id", Pointer),
        ("logits", Pointer),
    )


_decode = bind(llama, "llama_decode", C.c_int32, Pointer, _LlamaBatch)
_logits_at = bind(llama, "llama_get_logits_ith", Pointer, Pointer, C.c_int32)
_state_size = bind(llama, "llama_state_seq_get_size", Size, Pointer, C.c_int32)
_state_get = bind(llama, "llama_state_seq_get_data", Size, Pointer, Pointer, Size, C.c_int32)
_state_set = bind(llama, "llama_state_seq_set_data", Size, Pointer, Pointer, Size, C.c_int32)

_set_threads = bind(llama, "llama_set_n_threads", None, Pointer, C.c_int32, C.c_int32)
_forget_graphs = bind(llama, "llama_set_adapter_cvec", C.c_int32, Pointer, Pointer, Size, *[C.c_int32] * 3)

# in libllama's words, what tells a device that is full from a context that cannot be
_MEMORY = re.compile(r"alloc|out of memory", re.IGNORECASE)

_MEANING = {
    1: "the slot has no room for more tokens",
    2: "it was interrupted",
    -1: "the batch is not valid",
    -2: "there is no memory for it",
    -3: "the computation failed",
}


class Context:
    """The KV cache of ``slots`` sequences and the buffers to evaluate them; made by ``Model.context``.

    Attributes:
        handle: address of the ``llama_context``.
        slots: sequences it can hold.
        length: tokens of each slot.
        chunk: the most tokens one ``prefill`` may have.
        vocabulary: tokens, and so the number of logits.
        device: KV and compute bytes on the device, as libllama reports them (weights are the model's).
        host: the same for host memory.
        alone: whether the device computes every layer. The host then only looks up embeddings, a row for each token of
            a decode: one thread does that in less time than it takes to wake the others.
    """

    def __init__(
        self,
        model: int,
        device: Device,
        vocabulary: int,
        context: int,
        slots: int,
        threads: int,
        flash: bool | None = None,
    ) -> None:
        """Make a context of the ``llama_model`` at ``model``; ``flash``: with flash attention, None: as libllama likes.

        Raises:
            EngineError: libllama cannot, in its own words.
        """
        self.slots, self.length, self.chunk, self.vocabulary = slots, context, _chunk(context), vocabulary
        self.handle = _make(model, context, slots, threads, flash)
        self._memory = api.llama_get_memory(self.handle)
        self._device, self._rearranged, self.alone = device, False, False
        self._threads = threads
        self.device, self.host = self._measured()
        self._ring = _ring(model, self.handle)
        self._batch = _Batch(max(self.chunk, slots))
        self._row = C.c_float * vocabulary
        self._rows: dict[int, NDArray[np.float32]] = {}

    def prefill(self, slot: int, position: int, tokens: Sequence[int], output: bool) -> None:
        """Evaluate up to ``chunk`` tokens of one slot from ``position`` on; ``output``: keep the last one's logits.

        Those are then at index -1 (of ``logits`` and ``Sampler.sample``).

        Raises:
            EngineError: libllama could not, with the reason; clear the slot.
        """
        count = len(tokens)
        batch = self._batch
        batch.tokens[:count] = tokens
        batch.positions[:count] = np.arange(position, position + count)
        batch.slots[:count] = slot
        batch.outputs[:count] = False
        batch.outputs[count - 1] = output
        self._evaluate(count, self._threads)

    def decode(self, batch: Sequence[tuple[int, int, int]], along: Sequence[int] = ()) -> None:
        """Evaluate one token for each of some slots: (token, position, slot).

        Of ``n`` entries the i-th's logits are at index i - n (of ``logits`` and ``Sampler.sample``). Slots that follow
        each other, in order, libllama evaluates in one go, and those after a gap in another. Empty slots ``along`` fill
        gaps: something is evaluated in them too, and forgotten.

        Raises:
            EngineError: libllama could not, with the reason; clear the slots.
        """
        arrays, wanted = self._batch, [(*entry, True) for entry in batch]
        if along:
            wanted = sorted([*wanted, *((0, 0, slot, False) for slot in along)], key=lambda entry: entry[2])
        for index, (token, position, slot, output) in enumerate(wanted):
            arrays.tokens[index], arrays.positions[index], arrays.slots[index] = token, position, slot
            arrays.outputs[index] = output
        try:
            self._evaluate(len(wanted), 1 if self.alone else self._threads)
        finally:
            for slot in along:
                self.clear(slot)

    def logits(self, index: int) -> NDArray[np.float32]:
        """Logits of the whole vocabulary, a view that is valid until the next evaluation.

        Raises:
            EngineError: none were kept at that index.
        """
        address = _logits_at(self.handle, index)
        if not address:
            raise EngineError(f"there are no logits at index {index} of the last evaluation")
        if address not in self._rows:  # libllama writes them to the same places over and over
            self._rows[address] = np.frombuffer(memoryview(self._row.from_address(address)), np.float32)
        return self._rows[address]

    def state_size(self, slot: int) -> int:
        """Bytes of the slot's whole state."""
        return int(_state_size(self.handle, slot))

    def save(self, slot: int, into: NDArray[np.uint8]) -> None:
        """Copy the slot's whole state into ``state_size`` contiguous bytes of host memory; the slot keeps it.

        Raises:
            EngineError: libllama could not.
        """
        with captured() as lines:
            written = _state_get(self.handle, into.ctypes.data, into.nbytes, slot)
        if written != into.nbytes:
            raise EngineError(f"libllama could not save slot {slot} in {into.nbytes} bytes: {words(lines)}")

    def restore(self, slot: int, state: NDArray[np.uint8]) -> None:
        """Replace the slot's state by a saved one, from any slot of any context of this model, cell for cell.

        Raises:
            EngineError: libllama does not take it; the slot is then empty.
        """
        laid, edge = lay_out(np.ascontiguousarray(state), self.slots, self._ring)
        with captured() as lines:
            read = _state_set(self.handle, laid.ctypes.data, laid.nbytes, slot)
        if not read or read != laid.nbytes:
            self.clear(slot)
            raise EngineError(f"libllama does not take the state ({laid.nbytes} bytes) of slot {slot}: {words(lines)}")
        if edge is not None:
            api.llama_memory_seq_rm(self._memory, slot, edge, -1)

    def synchronize(self) -> None:
        """Wait until everything evaluated so far is done."""
        api.llama_synchronize(self.handle)

    def rearrange(self, device: Footprint, host: Footprint) -> None:
        """Weights have moved under it: let libllama plan its graphs anew, which it does at the next evaluation.

        ``device`` and ``host``: what the context is going to take then.
        """
        # removing a control vector that is not there changes nothing but marks all graphs as outdated; on the CPU too,
        # where views of weights (RWKV has some) keep the addresses that these had
        _forget_graphs(self.handle, None, 0, 0, 0, 0)
        if not self._device.is_cpu:
            self.device, self.host, self._rearranged = device, host, True

    def clear(self, slot: int) -> None:
        """Forget the slot's tokens."""
        api.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def close(self) -> None:
        """Free it; harmless when already closed."""
        if self.handle:
            api.llama_free(self.handle)
            self.handle = 0

    def _measured(self) -> tuple[Footprint, Footprint]:
        device, host = (replace(side, weights=0) for side in footprints(self.handle, self._device))
        return device, host

    def _evaluate(self, count: int, threads: int) -> None:
        _set_threads(self.handle, threads, threads)
        with captured() as lines:
            code = _decode(self.handle, self._batch.first(count))
        if code:
            meaning = _MEANING.get(code, f"code {code}")
            raise EngineError(f"libllama could not evaluate {count} tokens: {meaning} ({words(lines)})")
        if self._rearranged:
            self.device, self.host = self._measured()
            self._rearranged = False


class _Batch:
    """The arrays a ``llama_batch`` points into, filled anew for each evaluation."""

    def __init__(self, size: int) -> None:
        self.tokens, self.positions, self.slots = (np.zeros(size, np.int32) for _ in range(3))
        self.outputs = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        self._pointers = self.slots.ctypes.data + 4 * np.arange(size, dtype=np.uintp)
        self._batch = _LlamaBatch()
        self._batch.token, self._batch.pos = self.tokens.ctypes.data, self.positions.ctypes.data
        self._batch.n_seq_id, self._batch.seq_id = self._ones.ctypes.data, self._pointers.ctypes.data
        self._batch.logits = self.outputs.ctypes.data

    def first(self, count: int) -> _LlamaBatch:
        self._batch.n_tokens = count
        return self._batch


def measure(
    model: int, device: Device, context: int, slots: int, threads: int, flash: bool | None = None
) -> tuple[Footprint, Footprint]:
    """Bytes on the device and in host memory of a dry model and a context made of it, which takes no memory either.

    Raises:
        EngineError: libllama cannot make such a context.
    """
    handle = _make(model, context, slots, threads, flash)
    try:
        return footprints(handle, device)
    finally:
        api.llama_free(handle)


def flashes(model: int, threads: int) -> bool:
    """Whether libllama chooses flash attention for the model, placed as it is, in a context of one slot.

    It looks where it would be evaluated with a token for each slot, and does without if that is not where the layer is.
    But from ``OFFLOADED`` tokens on a GPU evaluates for the host's layers, so with as many slots that says nothing of
    what is supported; and without it the host attends several times slower, and a GPU's prefill takes half as long
    again.
    """
    with captured() as lines:
        handle = api.llama_init_from_model(model, _parameters(_PROBED, 1, threads))
    if handle:
        api.llama_free(handle)
    return not any(_FLASH in line for line in lines)


def _make(model: int, context: int, slots: int, threads: int, flash: bool | None) -> int:
    parameters = _parameters(context, slots, threads)
    if flash is not None:
        parameters.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    with captured() as lines:
        handle = api.llama_init_from_model(model, parameters)
    if not handle:
        message = f"libllama cannot make a context of {slots} slots of {context} tokens: {words(lines)}"
        raise OutOfMemory(message) if _MEMORY.search(message) else EngineError(message)
    if not api.llama_get_memory(handle):  # it would be asked for the logits of all tokens, and abort
        api.llama_free(handle)
        raise EngineError("it does not generate text token by token (a model for embeddings, or for diffusion)")
    return int(handle)


def _parameters(context: int, slots: int, threads: int) -> api.llama_context_params:
    parameters: api.llama_context_params = api.llama_context_default_params()
    parameters.n_ctx, parameters.n_seq_max = context * slots, slots
    parameters.n_batch = parameters.n_ubatch = max(_chunk(context), slots)
    parameters.n_outputs_max = slots  # of a prefill chunk only the last logits are wanted
    parameters.n_threads = parameters.n_threads_batch = threads
    # each slot has a stream of its own: what a sequence attends to never depends on its neighbours
    parameters.kv_unified = False
    parameters.swa_full = False
    parameters.offload_kqv, parameters.no_perf = True, True
    return parameters


def _chunk(context: int) -> int:
    return min(_CHUNK, context)


def _ring(model: int, context: int) -> int:
    """Cells that a slot has in the cache of the layers with a sliding window, as libllama sizes it; 0 without one."""
    window = api.llama_model_n_swa(model)
    cells = min(api.llama_n_ctx_seq(context), window + api.llama_n_ubatch(context))
    return -(-cells // 256) * 256 if window else 0
