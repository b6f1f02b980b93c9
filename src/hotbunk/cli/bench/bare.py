"""libllama alone: an ordinary load and a loop with nothing in it but libllama's own calls.

Weights keep the file's layout, as in the worker: it is the worker that is measured, not a layout. Some builds of the
layout that libllama makes for AMX crash, too (GCC 12 drops half of its tiles' configuration as a dead store).
"""

from __future__ import annotations

import ctypes as C
from pathlib import Path
from time import perf_counter

from hotbunk.errors import EngineError
from hotbunk.llama.lib import api, captured
from hotbunk.measure.wire import CONTEXT, PROMPT

__all__ = ["Bare"]


class Bare:
    """A model and a context for a number of streams."""

    def __init__(self, model: Path, layers: int, threads: int) -> None:
        """Load the ordinary way.

        Raises:
            EngineError: libllama cannot.
        """
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers, parameters.use_extra_bufts = layers, False
        with captured() as lines:
            self._model = api.llama_model_load_from_file(str(model).encode(), parameters)
        if not self._model:
            raise EngineError(f"libllama cannot load {model}: {' '.join(lines)}")
        self._threads = threads
        self._context: C.c_void_p | None = None
        self._sampler = api.llama_sampler_init_greedy()
        self._batch = api.llama_batch_init(max(len(PROMPT), 64), 0, 1)

    def load(self, streams: int) -> None:
        """Make a context with a slot for each stream.

        Raises:
            EngineError: libllama cannot.
        """
        self._free_context()
        parameters = api.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max, parameters.n_batch = CONTEXT * streams, streams, CONTEXT
        parameters.n_threads = parameters.n_threads_batch = self._threads
        self._context = api.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise EngineError(f"libllama cannot make a context of {streams} slots of {CONTEXT} tokens")

    def speed(self, streams: int, tokens: int) -> float:
        """Tokens per second of ``streams`` sequences in one batch."""
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        last = [self._prefill(slot) for slot in range(streams)]
        began = perf_counter()
        for position in range(len(PROMPT), len(PROMPT) + tokens):
            for slot, token in enumerate(last):
                self._put(slot, token, position, slot, True)
            self._evaluate(streams)
            last = [api.llama_sampler_sample(self._sampler, self._context, slot) for slot in range(streams)]
        return tokens * streams / (perf_counter() - began)

    def close(self) -> None:
        """Free everything."""
        self._free_context()
        api.llama_batch_free(self._batch)
        api.llama_sampler_free(self._sampler)
        api.llama_model_free(self._model)

    def _prefill(self, slot: int) -> int:
        for index, token in enumerate(PROMPT):
            self._put(index, token, index, slot, index + 1 == len(PROMPT))
        self._evaluate(len(PROMPT))
        return int(api.llama_sampler_sample(self._sampler, self._context, -1))

    def _put(self, index: int, token: int, position: int, slot: int, output: bool) -> None:
        batch = self._batch
        batch.token[index], batch.pos[index] = token, position
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, slot, output

    def _evaluate(self, count: int) -> None:
        self._batch.n_tokens = count
        if code := api.llama_decode(self._context, self._batch):
            raise EngineError(f"libllama could not evaluate {count} tokens: code {code}")

    def _free_context(self) -> None:
        if self._context:
            api.llama_free(self._context)
            self._context = None
