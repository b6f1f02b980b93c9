"""What a worker process says on its standard error: passed on, but for the sentence with which it refuses to begin."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from threading import Thread

from hotbunk.worker.life import failure

__all__ = ["Words"]

_REFUSAL = "hotbunk.worker: "  # how ``hotbunk.worker`` begins it


class Words:
    """Lines of a stream, read in a thread of its own until the process has ended."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._refusal, self._failure = "", ""
        self._thread = Thread(target=self._pass_on, args=(lines,), daemon=True)
        self._thread.start()

    def refusal(self) -> str:
        """Why a process that has ended would not begin; empty if it did, or died of something else."""
        self._thread.join()
        return self._refusal

    def failure(self) -> str:
        """What libggml said of its GPU, if that was why the process has ended; else empty."""
        self._thread.join()
        return self._failure

    def _pass_on(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.startswith(_REFUSAL):
                self._refusal = line.removeprefix(_REFUSAL).strip()
            else:
                self._failure = self._failure or failure(line)
                sys.stderr.write(line)
