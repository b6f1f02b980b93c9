"""What the gateway knows of each model's language: its vocabulary and its template, opened at the first request."""

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hotbunk.errors import BadRequest, EngineError, UnusableModel
from hotbunk.gateway.templates import Template
from hotbunk.llama import header
from hotbunk.llama.vocab import Vocab
from hotbunk.runtime.job import ModelInfo

T = TypeVar("T")

_LONGEST_RUN = 1_000_000
_STACK = 512 << 20  # bytes; holds a run of that length, and memory is only taken where it is used
_RUN = re.compile(r"\S+|\s+")  # of any length: a longest one would be looked for from each of its characters


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One model's vocabulary and chat template."""

    vocab: Vocab
    template: Template

    def tokenize(self, text: str, param: str, *, special: bool, bos: bool) -> list[int]:
        """Tokens of a prompt.

        Raises:
            BadRequest: the text holds a run without (or of nothing but) spaces that libllama could not split.
        """
        if len(text) > _LONGEST_RUN and any(len(run.group()) > _LONGEST_RUN for run in _RUN.finditer(text)):
            raise BadRequest(
                f"the prompt has more than {_LONGEST_RUN} characters in a row with no space between", param
            )
        return self.vocab.tokenize(text, special=special, bos=bos)


class Lexicons:
    """All models' lexicons, and the threads in which their slow work is done."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._open: dict[str, asyncio.Task[Lexicon]] = {}
        self._threads = _threads()

    async def get(self, info: ModelInfo) -> Lexicon:
        """The lexicon of a model; opened once, however many ask.

        Raises:
            UnusableModel: libllama cannot read the vocabulary, or the file is another one than is served.
        """
        task = self._open.get(info.id)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._open[info.id] = asyncio.create_task(self.aside(lambda: _lexicon(info)))
        return await asyncio.shield(task)  # one request that is cancelled must not take it from the others

    async def aside(self, work: Callable[[], T]) -> T:
        """Do something slow in a thread with a stack deep enough for libllama's tokenisers."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads and free the vocabularies."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for task in self._open.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().vocab.close()


def _lexicon(info: ModelInfo) -> Lexicon:
    vocab = Vocab(Path(info.path))
    try:
        header.check(info.sources)
    except EngineError as error:
        vocab.close()
        raise UnusableModel(str(error)) from error
    return Lexicon(vocab, Template(info.id, vocab))


def _threads() -> ThreadPoolExecutor:
    before = threading.stack_size(_STACK)
    try:
        pool = ThreadPoolExecutor(2, thread_name_prefix="text")
        ready = threading.Barrier(3)
        for _ in range(2):  # threads take the size of stack that is set when they start
            pool.submit(ready.wait)
        ready.wait()
    finally:
        threading.stack_size(before)
    return pool
