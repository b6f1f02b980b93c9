"""What is known of a machine before its first request: its roofline, and the profiles of its models, from the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.learning import Learner
from hotbunk.costs.record import Record
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store, default_path
from hotbunk.errors import ConfigError, EngineError
from hotbunk.llama.gguf import Gguf
from hotbunk.measure.machine import machine, roofline
from hotbunk.worker.protocol import Hello

__all__ = ["Knowledge"]

log = logging.getLogger("hotbunk.runtime")

_T = TypeVar("_T")


class Knowledge:
    """One device's share of the store. A store that cannot be used is warned of, and nothing is known then.

    Only what was measured of a machine as such is written here. What requests take is not: the store holds
    measurements made with the device to themselves, which drift is told by and profiles are judged by; what is learnt
    beside neighbours would blur both, and half a minute of requests learns it again.

    Attributes:
        problem: why nothing can be foretold; empty if it can.
    """

    def __init__(self, store: Path | None) -> None:
        """``store``: its file; None: the user's."""
        self.problem = "the machine has not been looked at yet"
        self._path = store or default_path()
        self._machine: Machine | None = None
        self._roofline: Roofline | None = None

    def find(self, hello: Hello) -> bool:
        """Look the machine up; whether its roofline is known."""
        self._machine = here = machine(hello)
        if self._path.exists():
            self._roofline = self._with(lambda store: store.roofline(here), None)
        self.problem = (
            "" if self._roofline else "the machine was not measured: serve with --measure, or run hotbunk profile"
        )
        return self._roofline is not None

    async def measure(self, device: str) -> None:
        """Measure the machine, and keep that. Nothing else should use the device meanwhile."""
        here = self._machine
        assert here
        log.info("%s is not known yet: measuring what it can do, once; --no-measure leaves that out", here.device)
        try:
            self._roofline = line = await asyncio.to_thread(roofline, device, here.threads, quick=True)
        except EngineError as error:
            log.warning("what requests take cannot be foretold: %s", error)
            self.problem = str(error)
            return
        self.problem = ""
        self._with(lambda store: store.keep_roofline(here, line), None)

    def learner(self, model: str, gguf: Gguf) -> Learner | None:
        """What is known of a model; None if not even the machine is."""
        if self._roofline is None or self._machine is None:
            return None
        here, mark = self._machine, content(gguf.files)

        def stored(store: Store) -> list[Record]:
            if why := store.near(here, mark, model):
                log.info("%s; its costs are learnt anew", why)
            return store.records(here, mark)

        return Learner(dissect(gguf, model), self._roofline, self._with(stored, []))

    def _with(self, use: Callable[[Store], _T], otherwise: _T) -> _T:
        try:
            with Store(self._path) as store:
                return use(store)
        except ConfigError as error:
            log.warning("%s", error)
            return otherwise
