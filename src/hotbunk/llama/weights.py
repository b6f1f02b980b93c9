"""A model's weights and their residency: moved piece by piece, or, where that cannot be done, by loading anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from hotbunk.errors import EngineError
from hotbunk.llama import header, tensor
from hotbunk.llama.context import measure
from hotbunk.llama.copy import Copy
from hotbunk.llama.device import Device
from hotbunk.llama.gguf import Gguf
from hotbunk.llama.piece import Piece, lay_out
from hotbunk.llama.pool import pool
from hotbunk.llama.shell import EXPERTS, Opened, Shell, cpu_type
from hotbunk.llama.stream import stream

__all__ = ["NOWHERE", "Loaded", "Moving", "Residency", "Weights"]

_SHELLS = 3  # kept open for each model


@dataclass(frozen=True, slots=True)
class Residency:
    """What of a model is on the device: ``layers``, the experts of that many blocks, the KV cache of ``cached`` layers.

    As in ``Placement``, with nothing left open.
    """

    layers: int
    experts: int
    cached: int


NOWHERE = Residency(0, 0, 0)


class Weights(Protocol):
    """Weights with a residency, and the ``llama_model`` (``handle``) to make contexts of.

    ``opening``: seconds of the last move that went into opening a shell, rather than into bytes.
    """

    residency: Residency
    opening: float

    @property
    def handle(self) -> int:
        """Address of the model that stands for the present residency."""

    @property
    def device_bytes(self) -> int:
        """Bytes of the device's buffers that hold weights now."""

    def dry(self, wanted: Residency) -> Opened:
        """Open the model with the very placement that ``move(wanted)`` gives, taking no memory."""

    def price(self, wanted: Residency, dry: Opened, reported: int) -> int:
        """Bytes on the device at that residency; ``reported`` are those of libllama's own placement."""

    def keeps_contexts(self, wanted: Residency) -> bool:
        """Whether contexts stay valid across the move, if nothing is evaluated meanwhile."""

    def move(self, wanted: Residency) -> int:
        """Set the residency; returns the bytes copied. The last of them may still be under way: ``settle``."""

    def park(self) -> None:
        """Take everything off the device; contexts must be closed."""

    @property
    def moving(self) -> bool:
        """Whether bytes may still be under way."""

    def settle(self) -> None:
        """Wait until all that was moved has arrived. Any thread may wait."""

    def copy(self) -> Copy | None:
        """An empty copy for the host store; None if these weights have no use for one."""

    def adopt(self, copy: Copy | None) -> None:
        """Take what is on the host from a filled copy from now on; None: from the mapped file again."""

    def close(self) -> None:
        """Free everything but the copy."""


class Moving:
    """Weights whose parts move live; the pieces outlive the shells that use them."""

    def __init__(self, gguf: Gguf, device: Device) -> None:
        """Open the first shell.

        Raises:
            EngineError: libllama cannot open the file, or its insides are not as expected.
        """
        tensor.check()
        self.residency, self.opening = NOWHERE, 0.0
        self._gguf, self._device, self._stream = gguf, device, stream(device)
        self._pieces: dict[int, Piece] = {}
        self._copy: Copy | None = None
        self._shell = Shell(gguf, device, 0)
        self._second_head = gguf.tied and not self._embeds_on_device()
        if self._second_head:
            self._shell.close()
            self._shell = Shell(gguf, device, 0, second_head=True)
        self._shells = {0: self._shell}
        self._layouts = [lay_out(device, tensors) for tensors in self._shell.parts]
        self._names = {each.name for tensors in self._shell.parts for each in tensors}
        self._written = _written(gguf, self._shell.parts)

    @property
    def handle(self) -> int:
        """Address of the shell in use."""
        return self._shell.handle

    @property
    def device_bytes(self) -> int:
        """Bytes of the pieces, and what libllama itself put on the device for the shell in use.

        Of shells kept for later that is some hundred bytes of rotary frequencies, and not counted.
        """
        return sum(piece.size for piece in self._pieces.values()) + self._shell.own

    def dry(self, wanted: Residency) -> Opened:
        """Open with libllama's ordinary placement where a tied head and the embedding are one tensor."""
        one = self._gguf.tied and not self._second_head and not self._device.is_cpu
        side = self._device.buffer_type if wanted.layers else cpu_type()
        overrides = [("^token_embd\\.weight$", side)] if one else []
        return _dry(self._gguf, self._device, wanted, overrides)

    def price(self, wanted: Residency, dry: Opened, reported: int) -> int:
        """Sum of the pieces, and of what a shell has on the device by itself."""
        there = tensor.of_model(dry.handle) if wanted.cached and not self._device.is_cpu else []
        own = [each for each in there if each.name not in self._names and each.on(self._device.buffer_type)]
        return sum(self._layouts[part].size for part in self._parts(wanted)) + lay_out(self._device, own).size

    def keeps_contexts(self, wanted: Residency) -> bool:
        """As long as the shell stays the same."""
        return self._key(wanted) == self._key(self.residency)

    def move(self, wanted: Residency) -> int:
        """Free the pieces that leave, fill those that come; from the host store that needs no waiting.

        Raises:
            OutOfMemory: the device has no room; the parts that were there before and stay are there still.
            EngineError: libllama cannot open the shell for it.
        """
        self.opening, coming = 0.0, self._parts(wanted)
        staying = self._pieces.keys() & set(coming)
        self._keep(staying)
        before = self.residency
        try:
            self._use(wanted)
            new = [part for part in coming if part not in staying]
            pool(self._device).trim(self._layouts[part].size for part in new)
            copied = sum(map(self._add, new))
        except EngineError:
            self.settle()
            self._keep(staying)
            self._use(before)
            self.residency = _standing(staying, self._gguf.blocks, before.cached)
            raise
        self.residency = wanted
        return copied

    def park(self) -> None:
        """Free the pieces. The shell stays as it is, for a load to the same residency, if it has nothing there."""
        if self._shell.own:
            self.move(NOWHERE)
        self._keep(set())
        self.residency = NOWHERE

    @property
    def moving(self) -> bool:
        """Whether the device's stream is busy."""
        return self._stream.busy

    def settle(self) -> None:
        """Wait for the device's stream."""
        self._stream.wait()

    def copy(self) -> Copy | None:
        """One laid out as the pieces are."""
        return Copy(self._device, self._written, self._layouts)

    def adopt(self, copy: Copy | None) -> None:
        """Point what is on the host at the copy, or at the file; shells not in use follow when they are used."""
        self._copy = copy
        self._shell.point(self._pieces, copy)
        for shell in self._shells.values():
            if shell is not self._shell:
                shell.point({}, copy)

    def close(self) -> None:
        """Free the shells, then the pieces."""
        for shell in self._shells.values():
            shell.close()
        self._shells.clear()
        self._drop(set())

    def _embeds_on_device(self) -> bool:
        embedding = next(each for each in self._shell.parts[0] if each.name == "token_embd.weight")
        return tensor.supports_lookup(self._device.handle, embedding)

    def _parts(self, wanted: Residency) -> list[int]:
        """Indices of the parts that are then on the device, in the order of promotion."""
        first = self._gguf.blocks + 1
        there = [*range(wanted.layers), *range(first, first + wanted.experts)]
        return [part for part in there if self._layouts[part].size]

    def _keep(self, parts: set[int]) -> None:
        """Keep at most these pieces; nothing in use points at the others any more."""
        self._shell.point({part: piece for part, piece in self._pieces.items() if part in parts}, self._copy)
        self._drop(parts)

    def _drop(self, parts: set[int]) -> None:
        for part in self._pieces.keys() - parts:
            self._pieces.pop(part).free()

    def _add(self, part: int) -> int:
        tensors = self._shell.parts[part]
        piece = self._pieces[part] = Piece(self._device, self._layouts[part])
        self._shell.point(self._pieces, self._copy)
        return piece.fill(tensors, self._copy.source(part) if self._copy else None)

    def _key(self, wanted: Residency) -> int:
        return 0 if self._device.is_cpu else wanted.cached

    def _use(self, wanted: Residency) -> None:
        """Take the shell for that residency, from those last used or opened now, and point it at the pieces."""
        key, began = self._key(wanted), perf_counter()
        shell = self._shells.pop(key, None)
        new = shell is None
        if shell is None:
            # a second head is on the device as long as its shell is open, so it goes before another comes
            self._shrink(0 if self._second_head else _SHELLS - 1)
            shell = Shell(self._gguf, self._device, key, self._second_head)
        if shell is not self._shell and self._shell in self._shells.values():
            self._shell.point({}, self._copy)
        self._shells[key] = self._shell = shell
        shell.point(self._pieces, self._copy)
        if new:  # pointing all tensors of a new one takes as long again as opening it
            self.opening += perf_counter() - began

    def _shrink(self, count: int) -> None:
        """Close the shells used longest ago."""
        while len(self._shells) > count:
            self._shells.pop(next(iter(self._shells))).close()


class Loaded:
    """Weights that libllama loads anew at each change of residency, for where its insides are not as expected."""

    def __init__(self, gguf: Gguf, device: Device) -> None:
        """Open with nothing on the device.

        Raises:
            EngineError: libllama cannot open the file.
        """
        self.residency, self.opening = NOWHERE, 0.0
        self.device_bytes = 0
        self._gguf, self._device = gguf, device
        self._model: Opened | None = Opened(gguf, device, 0)

    @property
    def handle(self) -> int:
        """Address of the model."""
        assert self._model, "parked: move first"
        return self._model.handle

    def dry(self, wanted: Residency) -> Opened:
        """Open with libllama's ordinary placement."""
        return _dry(self._gguf, self._device, wanted)

    def price(self, wanted: Residency, dry: Opened, reported: int) -> int:
        """What libllama reports; on the CPU, where it knows no layers, the bytes of their tensors."""
        if not self._device.is_cpu:
            return reported
        sizes = [self._gguf.head_bytes, *reversed(self._gguf.block_bytes)]
        return sum(sizes[: wanted.layers])

    def keeps_contexts(self, wanted: Residency) -> bool:
        """Only where nothing moves."""
        return wanted == self.residency

    def move(self, wanted: Residency) -> int:
        """Load at that residency.

        Raises:
            EngineError: libllama cannot; nothing is on the device then.
        """
        if wanted == self.residency and self._model:
            return 0
        self.park()
        try:
            self._model = Opened(self._gguf, self._device, wanted.cached, _overrides(self._gguf, self._device, wanted))
        except EngineError:
            self._model = Opened(self._gguf, self._device, 0)
            raise
        self.residency, self.device_bytes = wanted, self._weigh(wanted)
        return self.device_bytes

    def park(self) -> None:
        """Close the model; the next move opens it again."""
        self.close()
        self._model, self.residency, self.device_bytes = None, NOWHERE, 0

    @property
    def moving(self) -> bool:
        """Never."""
        return False

    def settle(self) -> None:
        """Nothing is ever under way."""

    def copy(self) -> Copy | None:
        """None: libllama reads the file."""
        return None

    def adopt(self, copy: Copy | None) -> None:
        """There is none to adopt."""

    def close(self) -> None:
        """Free the model."""
        if self._model:
            self._model.close()

    def _weigh(self, wanted: Residency) -> int:
        dry = self.dry(wanted)
        try:
            reported, _ = measure(dry.handle, self._device, context=256, slots=1, threads=1)
            return self.price(wanted, dry, reported.weights)
        finally:
            dry.close()


def _dry(gguf: Gguf, device: Device, wanted: Residency, overrides: list[tuple[str, int]] | None = None) -> Opened:
    return Opened(gguf, device, wanted.cached, (overrides or []) + _overrides(gguf, device, wanted), dry=True)


def _overrides(gguf: Gguf, device: Device, wanted: Residency) -> list[tuple[str, int]]:
    """What makes libllama put weights where ``wanted`` says, which it would else put where it puts the KV cache."""
    if device.is_cpu:
        return []
    experts, blocks = wanted.experts, gguf.blocks
    away = [f"^blk\\.{n}{EXPERTS.pattern}" for n in range(blocks - experts)] if gguf.experts else []
    moved = range(min(wanted.layers, wanted.cached), max(wanted.layers, wanted.cached))
    names = [f"^blk\\.{blocks - layer}\\." if layer else "^output" for layer in moved]
    side = device.buffer_type if wanted.layers > wanted.cached else cpu_type()
    return [(name, cpu_type()) for name in away] + [(name, side) for name in names]


def _written(gguf: Gguf, parts: Sequence[Sequence[tensor.Tensor]]) -> list[list[header.Tensor]]:
    """The parts' tensors as the files hold them."""
    written = {each.name: each for each in gguf.tensors}
    try:
        return [[written[each.name] for each in tensors] for tensors in parts]
    except KeyError as error:
        raise EngineError(f"libllama has a tensor {error} which its files have not") from error


def _standing(parts: set[int], blocks: int, cached: int) -> Residency:
    """The residency of a contiguous set of parts."""
    layers = sum(part <= blocks for part in parts)
    return Residency(layers, len(parts) - layers, cached)
