"""A model's weights and their residency: moved piece by piece, or, where that cannot be done, by loading anew."""

from __future__ import annotations

from typing import Protocol

from hotbunk.errors import EngineError
from hotbunk.llama import tensor
from hotbunk.llama.context import measure
from hotbunk.llama.device import Device
from hotbunk.llama.gguf import Gguf
from hotbunk.llama.piece import Piece, size_on
from hotbunk.llama.shell import Opened, Shell
from hotbunk.llama.tensor import Tensor

__all__ = ["Loaded", "Moving", "Weights"]

_SHELLS = 3  # kept open for each model


class Weights(Protocol):
    """Weights with a residency, and the ``llama_model`` (``handle``) to make contexts of."""

    residency: int

    @property
    def handle(self) -> int:
        """Address of the model that stands for the present residency."""

    @property
    def device_bytes(self) -> int:
        """Bytes of the device's buffers that hold weights now."""

    def dry(self, layers: int) -> Opened:
        """Open the model with the very placement that ``move(layers)`` gives, taking no memory."""

    def price(self, layers: int, dry: Opened, reported: int) -> int:
        """Bytes on the device at that residency; ``reported`` are those of libllama's own placement."""

    def move(self, layers: int) -> int:
        """Set the residency; returns the bytes copied."""

    def close(self) -> None:
        """Free everything."""


class Moving:
    """Weights whose layers move live; the pieces outlive the shells that use them."""

    def __init__(self, gguf: Gguf, device: Device) -> None:
        """Open the first shell.

        Raises:
            EngineError: libllama cannot open the file, or its insides are not as expected.
        """
        tensor.check()
        self.residency = 0
        self._gguf, self._device = gguf, device
        self._pieces: list[Piece] = []
        self._shell = Shell(gguf, device, 0)
        self._second_head = gguf.tied and not self._embeds_on_device()
        if self._second_head:
            self._shell.close()
            self._shell = Shell(gguf, device, 0, second_head=True)
        self._shells = {0: self._shell}
        self._sizes = [size_on(device, tensors) for tensors in self._shell.groups]
        self._names = {each.name for tensors in self._shell.groups for each in tensors}

    @property
    def handle(self) -> int:
        """Address of the shell in use."""
        return self._shell.handle

    @property
    def device_bytes(self) -> int:
        """Bytes of the pieces, and what libllama itself put on the device for the shell in use.

        Of shells kept for later that is some hundred bytes of rotary frequencies, and not counted.
        """
        return sum(piece.size for piece in self._pieces) + self._shell.own

    def dry(self, layers: int) -> Opened:
        """Open with libllama's ordinary placement, except that a tied head and the embedding are one tensor."""
        one = self._gguf.tied and not self._second_head and layers and not self._device.is_cpu
        overrides = [("^token_embd\\.weight$", self._device.buffer_type)] if one else []
        return Opened(self._gguf, self._device, layers, overrides, dry=True)

    def price(self, layers: int, dry: Opened, reported: int) -> int:
        """Sum of the pieces, and of what a shell has on the device by itself."""
        there = tensor.of_model(dry.handle) if layers and not self._device.is_cpu else []
        own = [each for each in there if each.name not in self._names and each.on(self._device.buffer_type)]
        return sum(self._sizes[:layers]) + size_on(self._device, own)

    def move(self, layers: int) -> int:
        """Free the pieces of layers that leave, fill those of layers that come.

        Raises:
            EngineError: the device has no room; the layers that were there before and stay are there still.
        """
        self._keep(layers)
        kept = len(self._pieces)
        try:
            self._use(layers)
            copied = sum(self._add(tensors) for tensors in self._shell.groups[kept:layers])
        except EngineError:
            self._keep(kept)
            self._use(kept)
            raise
        return copied

    def close(self) -> None:
        """Free the shells, then the pieces."""
        for shell in self._shells.values():
            shell.close()
        self._shells.clear()
        self._drop(0)

    def _embeds_on_device(self) -> bool:
        embedding = next(each for each in self._shell.groups[0] if each.name == "token_embd.weight")
        return tensor.supports_lookup(self._device.handle, embedding)

    def _keep(self, layers: int) -> None:
        """Keep at most the first pieces; nothing in use points at the others any more."""
        self._shell.point(self._pieces[:layers])
        self._drop(layers)
        self.residency = len(self._pieces)

    def _drop(self, layers: int) -> None:
        while len(self._pieces) > layers:
            self._pieces.pop().free()

    def _add(self, tensors: list[Tensor]) -> int:
        self._pieces.append(Piece(self._device, tensors))
        self.residency = len(self._pieces)
        self._shell.point(self._pieces)
        return sum(each.fill() for each in tensors)

    def _use(self, layers: int) -> None:
        """Take the shell for that residency, from those last used or opened now, and point it at the pieces."""
        key = 0 if self._device.is_cpu else layers
        shell = self._shells.pop(key, None)
        if shell is None:
            # a second head is on the device as long as its shell is open, so it goes before another comes
            self._shrink(0 if self._second_head else _SHELLS - 1)
            shell = Shell(self._gguf, self._device, layers, self._second_head)
        self._shells[key] = self._shell = shell
        shell.point(self._pieces[:layers])

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
        self.residency = 0
        self.device_bytes = 0
        self._gguf, self._device = gguf, device
        self._model = Opened(gguf, device, 0)

    @property
    def handle(self) -> int:
        """Address of the model."""
        return self._model.handle

    def dry(self, layers: int) -> Opened:
        """Open with libllama's ordinary placement."""
        return Opened(self._gguf, self._device, layers, dry=True)

    def price(self, layers: int, dry: Opened, reported: int) -> int:
        """What libllama reports; on the CPU, where it knows no layers, the bytes of their tensors."""
        if not self._device.is_cpu:
            return reported
        sizes = [self._gguf.head_bytes, *reversed(self._gguf.block_bytes)]
        return sum(sizes[:layers])

    def move(self, layers: int) -> int:
        """Load at that residency.

        Raises:
            EngineError: libllama cannot; nothing is on the device then.
        """
        if layers == self.residency:
            return 0
        self._model.close()
        self.residency = self.device_bytes = 0
        try:
            self._model = Opened(self._gguf, self._device, layers)
        except EngineError:
            self._model = Opened(self._gguf, self._device, 0)
            raise
        self.residency, self.device_bytes = layers, self._weigh(layers)
        return self.device_bytes

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def _weigh(self, layers: int) -> int:
        dry = self.dry(layers)
        try:
            reported, _ = measure(dry.handle, self._device, context=256, slots=1, threads=1)
            return self.price(layers, dry, reported.weights)
        finally:
            dry.close()
