"""Shells: opened models with nothing of ours on the device.

Where libllama puts a model's KV cache is fixed when it is opened, by ``n_gpu_layers``; where its weights are is not. So
there is a shell for each number of layers whose cache is on the device, opened in some hundredths of a second since all
its weights stay in the mapped file, and the tensors of the shell in use are pointed at the pieces on the device, or at
the copy in the host store.
"""

from __future__ import annotations

import ctypes as C
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hotbunk.errors import EngineError
from hotbunk.llama import header, tensor
from hotbunk.llama.copy import Copy
from hotbunk.llama.device import Device
from hotbunk.llama.gguf import Gguf
from hotbunk.llama.lib import Pointer, Size, api, base, bind, captured, words
from hotbunk.llama.piece import Piece
from hotbunk.llama.tensor import Tensor

__all__ = ["EXPERTS", "Opened", "Shell", "cpu_type"]

_INTEGER, _STRING = 0, 3  # enum llama_model_kv_override_type
# These two are left to libllama, which makes a copy for each side that needs one (and they are tiny)
_LEFT = "rope_freqs|rope_factors"
_EMBEDDING = "token_embd.weight"

# of a mixture of experts, the tensors of which each token needs but a few slices
EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")

cpu_type = bind(base, "ggml_backend_cpu_buffer_type", Pointer)
_buffer_size = bind(base, "ggml_backend_buffer_get_size", Size, Pointer)


class _Override(C.Structure):
    _fields_ = (("pattern", C.c_char_p), ("buffer_type", Pointer))


class Opened:
    """A ``llama_model``, without a vocabulary but for its size.

    ``overrides`` say which tensors (regular expressions of names) go to which buffer type. ``dry``: nothing is
    allocated nor read; it can only tell what memory it would take.

    Raises:
        EngineError: libllama cannot open it, in its own words; it has an encoder; or it is another file by now.
    """

    def __init__(
        self, gguf: Gguf, device: Device, layers: int, overrides: Sequence[tuple[str, int]] = (), dry: bool = False
    ) -> None:
        parameters = api.llama_model_default_params()
        # only this device is ever touched: for the CPU, none
        devices = (Pointer * 2)(None if device.is_cpu else device.handle, None)
        places = (_Override * (len(overrides) + 1))(*[_Override(name.encode(), kind) for name, kind in overrides])
        values = _without_vocabulary(gguf)
        self._kept = (devices, places, values)
        parameters.devices = C.addressof(devices)
        parameters.tensor_buft_overrides = C.addressof(places)
        parameters.kv_overrides = C.cast(values, type(parameters.kv_overrides))
        parameters.n_gpu_layers = 0 if device.is_cpu else layers
        parameters.load_mode = api.LLAMA_LOAD_MODE_NONE if dry else api.LLAMA_LOAD_MODE_MMAP
        parameters.lazy_mode = api.LLAMA_LAZY_MODE_OFF
        parameters.use_extra_bufts, parameters.load_mtp, parameters.no_alloc = False, False, dry
        self.handle = _load(gguf, parameters)
        try:
            _check(gguf, self.handle)
        except EngineError:
            self.close()
            raise

    def close(self) -> None:
        """Free it; harmless when already closed."""
        if self.handle:
            api.llama_model_free(self.handle)
            self.handle = 0


class Shell(Opened):
    """A model whose weights are all in the mapped file until they are pointed elsewhere.

    ``parts`` holds the tensors that move together: the head, then the blocks from last to first; in the same order of
    blocks their experts, if they have any; and an embedding that is not the head too, which never leaves the host (of
    it a token needs one row), but may lie in the host store. ``second_head``: the tied head shall be a tensor of its
    own, which libllama puts on the device. ``own`` is the bytes on the device that libllama itself put there.
    """

    def __init__(self, gguf: Gguf, device: Device, layers: int, second_head: bool = False) -> None:
        left = f"{_LEFT}|{_EMBEDDING}" if second_head else _LEFT
        super().__init__(gguf, device, layers, [(f"^(?!{left})", cpu_type())])
        try:
            tensors = tensor.of_model(self.handle)
        except EngineError:
            self.close()
            raise
        self.parts = _parts(tensors, gguf, second_head)
        self.own = _bytes_on(device, tensors)
        self._at: list[object] = [None] * len(self.parts)
        self._copy: Copy | None = None

    def close(self) -> None:
        """Free it; its tensors go with it, so nothing is left to point."""
        super().close()
        self.parts, self.own = [], 0

    def point(self, pieces: Mapping[int, Piece], copy: Copy | None) -> None:
        """Point the parts that have a piece there, and all others at the copy in the host store or at the file."""
        for part, tensors in enumerate(self.parts):
            place = pieces.get(part, copy)
            if place is not self._at[part]:
                self._at[part] = place
                _settle(tensors, pieces.get(part), copy.addresses(part) if copy else None)
        if copy is not self._copy:
            self._copy = copy
            for each in (each for tensors in self.parts for each in tensors if copy):
                each.forget()


def _settle(tensors: list[Tensor], piece: Piece | None, addresses: Iterator[int] | None) -> None:
    if piece:
        piece.take(tensors)
        return
    for each in tensors:
        each.withdraw(next(addresses) if addresses else None)


def _load(gguf: Gguf, parameters: api.llama_model_params) -> int:
    with captured() as lines:
        handle = api.llama_model_load_from_file(str(gguf.path).encode(), parameters)
    if not handle:
        raise EngineError(f"libllama cannot open {gguf.path.name}: {words(lines)}")
    return int(handle)


def _check(gguf: Gguf, handle: int) -> None:
    header.check(gguf.sources)
    if api.llama_model_has_encoder(handle):  # which libllama aborts without
        raise EngineError(f"{gguf.path.name} has an encoder ({gguf.architecture}): only plain decoders are served")


def _without_vocabulary(gguf: Gguf) -> Any:
    """Metadata overrides that leave the vocabulary out (it costs 0.1 to 0.3 s) but for its size."""
    values: Any = (api.llama_model_kv_override * 3)()
    values[0].tag, values[0].key, values[0].value.val_str = _STRING, b"tokenizer.ggml.model", b"no_vocab"
    values[1].tag, values[1].key = _INTEGER, f"{gguf.architecture}.vocab_size".encode()
    values[1].value.val_i64 = gguf.vocabulary
    return values


def _parts(tensors: list[Tensor], gguf: Gguf, second_head: bool) -> list[list[Tensor]]:
    blocks = gguf.blocks
    parts: list[list[Tensor]] = [[] for _ in range(2 * blocks + 2)]
    for each in tensors:
        kind, _, rest = each.name.partition(".")
        if kind == "blk":
            order = blocks - int(rest.partition(".")[0])
            parts[order + blocks if EXPERTS.search(each.name) else order].append(each)
        elif kind.startswith("output"):
            parts[0].append(each)
        elif each.name == _EMBEDDING and not second_head:  # else it is libllama's affair where it lies
            parts[0 if gguf.tied else -1].append(each)
    return parts


def _bytes_on(device: Device, tensors: list[Tensor]) -> int:
    buffers = {each.buffer for each in tensors if not device.is_cpu and each.on(device.buffer_type)}
    return sum(_buffer_size(buffer) for buffer in buffers)
