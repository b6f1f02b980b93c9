"""An opened model: its residency, what a placement of it would cost, and contexts to run it."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from hotbunk.errors import EngineError
from hotbunk.llama import gguf
from hotbunk.llama.context import Context, measure
from hotbunk.llama.device import Device
from hotbunk.llama.lib import api, captured, words
from hotbunk.llama.tensor import TRIED
from hotbunk.llama.weights import Loaded, Moving, Weights
from hotbunk.placement import Placement

__all__ = ["Model"]

log = logging.getLogger("hotbunk.llama")


class Model:
    """A GGUF file opened on a device; nothing is on the device until ``promote``.

    Attributes:
        path: the file, the first one of a split model.
        device: where its layers go.
        layers: all layers, the blocks and the head.
        trained: context the model was trained for, tokens.
        vocabulary: tokens.
        weights: bytes of all tensors.
        movable: whether layers move live; if not, ``reason`` says which check failed and ``promote`` loads anew.
    """

    def __init__(self, path: Path, device: Device, threads: int) -> None:
        """Open ``path``; its contexts compute with ``threads`` threads on the CPU.

        Raises:
            UnusableModel: the file is missing, corrupt or truncated.
            EngineError: libllama cannot open it, in its own words.
        """
        facts = gguf.read(path)
        self.path, self.device = facts.files[0], device
        self.layers, self.trained = facts.blocks + 1, facts.context
        self.vocabulary, self.weights = facts.vocabulary, facts.weights
        self._threads = threads
        self._placements: dict[tuple[int, int, int], Placement] = {}
        self._contexts: list[Context] = []
        self._grammar_model = 0
        self.reason, self._weights = _open(facts, device)

    @property
    def movable(self) -> bool:
        """Whether layers move live."""
        return not self.reason

    @property
    def residency(self) -> int:
        """Layers on the device now."""
        return self._weights.residency

    @property
    def device_weights(self) -> int:
        """Bytes of the device's buffers that hold weights now."""
        return self._weights.device_bytes

    def predict(self, layers: int, context: int, slots: int) -> Placement:
        """Price a placement by a dry load; nothing is allocated. ``context`` is in tokens for each slot.

        Raises:
            EngineError: libllama cannot have such a placement.
        """
        self._check(layers)
        key = (layers, context, slots)
        if key not in self._placements:
            self._placements[key] = self._price(layers, context, slots)
        return self._placements[key]

    def fit(self, budget: int, context: int, slots: int) -> Placement | None:
        """The largest residency whose device bytes are at most ``budget``; None if not even 0 layers fit."""
        best, low, high = None, 0, self.layers
        middle = high  # most often everything fits
        while low <= high:
            placement = self.predict(middle, context, slots)
            if placement.device.total <= budget:
                best, low = placement, middle + 1
            else:
                high = middle - 1
            middle = (low + high) // 2
        return best

    def promote(self, layers: int) -> int:
        """Set the residency, up or down, moving only the layers that change side. Returns the bytes copied.

        Every context must be closed before.

        Raises:
            EngineError: the device refused the memory; the residency is what ``residency`` then says.
        """
        self._check(layers)
        self._contexts = [context for context in self._contexts if context.handle]
        if self._contexts:
            raise EngineError(f"{self.path.name} cannot change its residency while it has a context; close it first")
        return self._weights.move(layers)

    def context(self, context: int, slots: int) -> Context:
        """Make a context of ``slots`` slots of ``context`` tokens at the present residency.

        Raises:
            EngineError: libllama cannot, in its own words.
        """
        made = Context(self._weights.handle, self.device, self.vocabulary, context, slots, self._threads)
        self._contexts.append(made)
        return made

    def grammar_vocab(self) -> int:
        """The vocabulary (a ``llama_vocab`` address) that grammars need, read at the first call.

        Raises:
            EngineError: the file has no usable vocabulary.
        """
        if not self._grammar_model:
            self._grammar_model = _open_vocabulary(self.path)
        return int(api.llama_model_get_vocab(self._grammar_model))

    def close(self) -> None:
        """Free everything, contexts included."""
        for context in self._contexts:
            context.close()
        self._weights.close()
        if self._grammar_model:
            api.llama_model_free(self._grammar_model)
            self._grammar_model = 0

    def _check(self, layers: int) -> None:
        if not 0 <= layers <= self.layers:
            raise EngineError(f"{self.path.name} has {self.layers} layers; a residency of {layers} is impossible")

    def _price(self, layers: int, context: int, slots: int) -> Placement:
        dry = self._weights.dry(layers)
        try:
            device, host = measure(dry.handle, self.device, context, slots, self._threads)
            weights = self._weights.price(layers, dry, device.weights)
        finally:
            dry.close()
        return Placement(layers, context, slots, replace(device, weights=weights), replace(host, weights=0))


def _open(facts: gguf.Gguf, device: Device) -> tuple[str, Weights]:
    """Open with live moves; failing that the ordinary way, with the reason, unless that fails too."""
    if (found := version("llama-cpp-python")) not in TRIED:
        log.warning("hotbunk was tried with llama-cpp-python %s, not %s", ", ".join(TRIED), found)
    try:
        return "", Moving(facts, device)
    except EngineError as error:
        return str(error), Loaded(facts, device)


def _open_vocabulary(path: Path) -> int:
    parameters = api.llama_model_default_params()
    parameters.vocab_only = True
    with captured() as lines:
        model = api.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise EngineError(f"libllama cannot read the vocabulary of {path.name}: {words(lines)}")
    return int(model)
