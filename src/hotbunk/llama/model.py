"""An opened model: its residency, what a placement of it would cost, and contexts to run it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from hotbunk.errors import EngineError, OutOfMemory
from hotbunk.llama import gguf
from hotbunk.llama.context import OFFLOADED, Context, flashes, measure
from hotbunk.llama.copy import Copy
from hotbunk.llama.device import Device
from hotbunk.llama.pool import pool
from hotbunk.llama.tensor import TRIED
from hotbunk.llama.vocab import Vocab
from hotbunk.llama.weights import Loaded, Moving, Residency, Weights
from hotbunk.placement import Footprint, Placement

__all__ = ["ORDERED", "Model"]

log = logging.getLogger("hotbunk.llama")

ORDERED = "ordinary loads were asked for"


class Model:
    """A GGUF file opened on a device; nothing is on the device until ``promote``.

    Attributes:
        path: the file, the first one of a split model.
        device: where its layers go.
        layers: all layers, the blocks and the head.
        trained: context the model was trained for, tokens.
        vocabulary: tokens.
        weights: bytes of all tensors.
        mixed: whether it is a mixture of experts.
        movable: whether layers move live; if not, ``reason`` says which check failed and ``promote`` loads anew.
    """

    def __init__(self, path: Path, device: Device, threads: int, ordinary: bool = False) -> None:
        """Open ``path``; its contexts compute with ``threads`` threads on the CPU.

        ``ordinary``: load it anew for each residency, as others do, even where its layers could move.

        Raises:
            UnusableModel: the file is missing, corrupt or truncated.
            EngineError: libllama cannot open it, in its own words.
        """
        facts = gguf.read(path)
        self.path, self.device = facts.path, device
        self.layers, self.trained = facts.blocks + 1, facts.context
        self.vocabulary, self.weights = facts.vocabulary, facts.weights
        self.mixed = facts.experts > 0
        self._threads = threads
        self._placements: dict[tuple[Residency, int, int], Placement] = {}
        self._contexts: list[Context] = []
        self._flashes: dict[bool, bool] = {}  # by whether the device has a part of the KV cache
        self._vocab: Vocab | None = None
        self.reason, self._weights = (ORDERED, Loaded(facts, device)) if ordinary else _open(facts, device)

    @property
    def movable(self) -> bool:
        """Whether layers move live."""
        return not self.reason

    @property
    def residency(self) -> int:
        """Layers on the device now."""
        return self._weights.residency.layers

    @property
    def opening(self) -> float:
        """Seconds of the last ``promote`` that it took to open a shell, where none was open for that residency."""
        return self._weights.opening

    @property
    def device_weights(self) -> int:
        """Bytes of the device's buffers that hold weights now."""
        return self._weights.device_bytes

    def predict(
        self, layers: int, context: int, slots: int, experts: int | None = None, cached: int | None = None
    ) -> Placement:
        """Price a placement by a dry load; nothing is allocated. ``context`` is in tokens for each slot.

        Raises:
            EngineError: libllama cannot have such a placement.
        """
        wanted = self._residency(layers, experts, cached)
        key = (wanted, context, slots)
        if key not in self._placements:
            self._placements[key] = self._price(wanted, context, slots)
        return self._placements[key]

    def fit(self, budget: int, context: int, slots: int) -> Placement | None:
        """The largest residency whose device bytes are at most ``budget``; None if not even 0 layers fit.

        A mixture of experts gives up experts first, which each token reads but a few of, and then whole layers.
        """

        def at(layers: int, experts: int | None = None) -> Placement | None:
            placement = self.predict(layers, context, slots, experts)
            return placement if placement.device.total <= budget else None

        blocks = self.layers - 1
        best = at(self.layers)
        if best is None and self.mixed:
            best = _largest(lambda experts: at(self.layers, experts), blocks - 1) or _largest(
                lambda layers: at(layers, 0), blocks
            )
        return best or _largest(at, blocks)

    def promote(self, layers: int, experts: int | None = None, cached: int | None = None) -> int:
        """Set the residency, up or down, moving only what changes side. Returns the bytes copied.

        From the host store the last of them are still under way: ``settle`` before anything is evaluated. Contexts
        stay valid if ``keeps_contexts``; else they must be closed before.

        Raises:
            OutOfMemory: the device has no room for it.
            EngineError: libllama refused. The residency is then what ``residency`` says.
        """
        wanted = self._residency(layers, experts, cached)
        contexts = self._living()
        if contexts and not self._weights.keeps_contexts(wanted):
            raise EngineError(f"{self.path.name} cannot move its KV cache while it has a context; close it first")
        for context in contexts:
            context.synchronize()
        try:
            return self._weights.move(wanted)
        finally:
            for context in contexts:
                context.rearrange(*self._sides(context))
                context.alone = self._alone

    def keeps_contexts(self, layers: int, experts: int | None = None, cached: int | None = None) -> bool:
        """Whether contexts may stay open while the residency becomes that."""
        return self._weights.keeps_contexts(self._residency(layers, experts, cached))

    def park(self) -> None:
        """Take everything off the device and close every context; promote again before the next one."""
        for context in self._living():
            context.close()
        self.settle()
        self._weights.park()

    @property
    def moving(self) -> bool:
        """Whether bytes of a promotion may still be under way."""
        return self._weights.moving

    def settle(self) -> None:
        """Wait until all that was promoted has arrived. Any thread may wait."""
        self._weights.settle()

    def copy(self) -> Copy | None:
        """An empty copy of the weights for the host store; None where they cannot be moved.

        Raises:
            EngineError: there is no such memory.
        """
        return self._weights.copy()

    def adopt(self, copy: Copy | None) -> None:
        """Use a filled copy for all that is on the host and for promotions; None: the mapped file again."""
        for context in self._living():
            context.synchronize()
        self._weights.adopt(copy)

    def context(self, context: int, slots: int) -> Context:
        """Make a context of ``slots`` slots of ``context`` tokens at the present residency.

        Raises:
            OutOfMemory: the device has no room for it.
            EngineError: libllama cannot, in its own words.
        """
        try:
            made = self._context(context, slots)
        except OutOfMemory:
            if not pool(self.device).clear():
                raise
            made = self._context(context, slots)
        made.alone = self._alone
        self._contexts.append(made)
        return made

    @property
    def vocab(self) -> Vocab:
        """The vocabulary, which only grammars need, read at the first call.

        Raises:
            UnusableModel: the file has no usable vocabulary.
        """
        if not self._vocab:
            self._vocab = Vocab(self.path)
        return self._vocab

    def close(self) -> None:
        """Free everything, contexts included."""
        for context in self._contexts:
            context.close()
        self._weights.close()
        if self._vocab:
            self._vocab.close()
            self._vocab = None

    def _context(self, context: int, slots: int) -> Context:
        handle, now = self._weights.handle, self._weights.residency
        flash = self._flash(handle, now, slots)
        return Context(handle, self.device, self.vocabulary, context, slots, self._threads, flash)

    def _flash(self, model: int, residency: Residency, slots: int) -> bool | None:
        """Whether contexts of so many slots have flash attention; None: libllama can tell by itself."""
        if slots < OFFLOADED:
            return None
        there = residency.cached > 0
        if there not in self._flashes:
            self._flashes[there] = flashes(model, self._threads)
        return self._flashes[there]

    @property
    def _alone(self) -> bool:
        """Whether the device computes every layer, and all of each."""
        now = self._weights.residency
        return not self.device.is_cpu and now == self._residency(self.layers, None, None)

    def _living(self) -> list[Context]:
        self._contexts = [context for context in self._contexts if context.handle]
        return self._contexts

    def _residency(self, layers: int, experts: int | None, cached: int | None) -> Residency:
        """Fill in what is left open, and check it."""
        # with no layer there, nothing on the device would read the cache
        cached, most = layers if cached is None or not layers else cached, max(layers - 1, 0)
        experts = most if experts is None or not self.mixed else experts
        for value in (layers, cached):
            if not 0 <= value <= self.layers:
                raise EngineError(f"{self.path.name} has {self.layers} layers; a residency of {value} is impossible")
        if not 0 <= experts <= most:
            raise EngineError(
                f"with {layers} layers on the device {self.path.name} can have the experts of 0 to {most} blocks "
                f"there, not of {experts}"
            )
        return Residency(layers, experts, cached)

    def _sides(self, context: Context) -> tuple[Footprint, Footprint]:
        """What a context takes at the present residency."""
        now = self._weights.residency
        placement = self.predict(now.layers, context.length, context.slots, now.experts, now.cached)
        return replace(placement.device, weights=0), placement.host

    def _price(self, wanted: Residency, context: int, slots: int) -> Placement:
        dry = self._weights.dry(wanted)
        try:
            flash = self._flash(dry.handle, wanted, slots)
            device, host = measure(dry.handle, self.device, context, slots, self._threads, flash)
            weights = self._weights.price(wanted, dry, device.weights)
        finally:
            dry.close()
        experts = wanted.experts if self.mixed else None
        sides = replace(device, weights=weights), replace(host, weights=0)
        return Placement(wanted.layers, context, slots, *sides, experts, wanted.cached)


def _largest(placed: Callable[[int], Placement | None], most: int) -> Placement | None:
    """The placement of the largest number up to ``most`` that has one; larger ones take more."""
    best, low, high = None, 0, most
    while low <= high:
        middle = (low + high) // 2
        if placement := placed(middle):
            best, low = placement, middle + 1
        else:
            high = middle - 1
    return best


def _open(facts: gguf.Gguf, device: Device) -> tuple[str, Weights]:
    """Open with live moves; failing that the ordinary way, with the reason, unless that fails too."""
    if (found := version("llama-cpp-python")) not in TRIED:
        log.warning("hotbunk was tried with llama-cpp-python %s, not %s", ", ".join(TRIED), found)
    try:
        return "", Moving(facts, device)
    except EngineError as error:
        return str(error), Loaded(facts, device)
