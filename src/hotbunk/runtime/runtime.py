"""The runtime: all devices together, as the gateway sees them."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hotbunk.config import Config
from hotbunk.errors import ConfigError, UnknownModel, UnusableModel
from hotbunk.models import Served, served
from hotbunk.runtime.catalog import Entry
from hotbunk.runtime.driver import Driver
from hotbunk.runtime.generation import LiveGeneration
from hotbunk.runtime.job import Job, ModelInfo
from hotbunk.scheduler import POLICIES

log = logging.getLogger("hotbunk.runtime")


class Runtime:
    """Serves the models of a configuration. Use it as an asynchronous context manager.

    Raises:
        ConfigError: on entering: nothing to serve, no such policy or device, or no model fits.
    """

    def __init__(self, config: Config) -> None:
        if config.policy not in POLICIES:
            raise ConfigError(f"no policy is called {config.policy!r}; there are {', '.join(sorted(POLICIES))}")
        self._config = config
        self._spill = config.spill_dir or Path(tempfile.mkdtemp(prefix="hotbunk-spill-"))
        self._drivers = [Driver(config, device, self._spill) for device in config.all_devices]
        self._home: dict[str, Driver] = {}

    async def __aenter__(self) -> Runtime:
        try:
            models = served(self._config)
            for driver in self._drivers:  # all of them first: nothing else runs while a machine is measured
                await driver.begin()
            for driver, mine in zip(self._drivers, _assign(models, self._drivers), strict=True):
                await driver.start(mine)
                self._home |= {model.id: driver for model in mine}
            entries = [driver.entries[id] for id, driver in self._home.items()]
            if all(entry.problem for entry in entries):
                raise ConfigError(
                    "no model can be served: " + "; ".join(f"{e.served.id}: {e.problem}" for e in entries)
                )
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for driver in self._drivers:
            await driver.close()
        if not self._config.spill_dir:
            shutil.rmtree(self._spill, ignore_errors=True)

    def models(self) -> list[ModelInfo]:
        """All known models, unusable ones too."""
        return [self._entry(id).info for id in self._home]

    def resolve(self, name: str) -> ModelInfo:
        """The model of that id or alias.

        Raises:
            UnknownModel: there is none; the message lists the known ids.
            UnusableModel: it cannot be served; the message says why.
        """
        entry = self._known(name)
        if entry.problem:
            raise UnusableModel(f"the model {entry.served.id!r} cannot be served: {entry.problem}")
        return entry.info

    def expect(self, model: str) -> None:
        """A request for the model is being prepared: its load may begin meanwhile.

        Raises:
            UnusableModel: the model cannot be served (any more).
        """
        id = self.resolve(model).id
        self._home[id].expect(id)

    def submit(self, job: Job) -> LiveGeneration:
        """Queue a job; never blocks.

        Raises:
            Overloaded: it could not be started within the bound on waiting.
            UnusableModel: the model cannot be served (any more).
        """
        self.resolve(job.model)
        return self._home[job.model].submit(job)

    async def load(self, model: str, layers: int | None) -> dict[str, Any]:
        """Load a model with that many layers on the device (None: as many as fit); returns its state.

        One that cannot be served, which may be over by now, is tried again.

        Raises:
            BadRequest: there is no such residency, or no room for it.
            UnknownModel: there is no such model.
            UnusableModel: the load failed.
        """
        entry = self._known(model)
        id = entry.served.id
        if entry.problem:
            await self._home[id].revive(id)
        await self._home[id].load(id, layers)
        return self._state_of(id)

    async def unload(self, model: str) -> dict[str, Any]:
        """Take a model off its device; returns its state.

        Raises:
            BadRequest: it is to be kept resident.
            UnknownModel: there is no such model.
            UnusableModel: it cannot be served.
        """
        id = self.resolve(model).id
        await self._home[id].unload(id)
        return self._state_of(id)

    def state(self) -> dict[str, Any]:
        """Everything there is to see, ready for JSON."""
        parts = [driver.state() for driver in self._drivers]
        lists = ("devices", "models", "queue", "sequences", "decisions")
        merged: dict[str, Any] = {key: [row for part in parts for row in part[key]] for key in lists}
        merged["decisions"].sort(key=lambda d: d["time"])
        counters = {id: counts for part in parts for id, counts in part["counters"].items()}
        return {"policy": self._config.policy, **merged, "counters": counters}

    def _known(self, name: str) -> Entry:
        """The model of that id or alias, whether it can be served or not."""
        for id in self._home:
            entry = self._entry(id)
            if name in (id, *entry.served.alias):
                return entry
        raise UnknownModel(f"there is no model {name!r} here; known are {', '.join(self._home)}")

    def _entry(self, id: str) -> Entry:
        return self._home[id].entries[id]

    def _state_of(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = next(m for m in self._home[id].state()["models"] if m["id"] == id)
        return found


def _assign(models: list[Served], drivers: list[Driver]) -> list[list[Served]]:
    """Which models live on which device: as configured, else the largest first to where the least bytes are yet."""
    homes: list[list[Served]] = [[] for _ in drivers]
    loads = [0] * len(drivers)
    names = [driver.device.name for driver in drivers]
    for model in sorted(models, key=lambda m: (m.device is None, -m.path.stat().st_size)):
        place = names.index(model.device) if model.device else loads.index(min(loads))
        homes[place].append(model)
        loads[place] += model.path.stat().st_size
    return homes
