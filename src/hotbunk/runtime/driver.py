"""The driver of one device: tells its scheduler what happens, and has its worker do what the scheduler decides."""

from __future__ import annotations

import asyncio
import itertools
import logging
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any

from hotbunk.config import Config, DeviceConfig
from hotbunk.errors import BadRequest, Overloaded, UnusableModel
from hotbunk.models import Served
from hotbunk.placement import Placement
from hotbunk.runtime.catalog import Entry, waited
from hotbunk.runtime.generation import LiveGeneration
from hotbunk.runtime.job import Job
from hotbunk.runtime.journal import Journal
from hotbunk.runtime.process import Worker, WorkerLost
from hotbunk.runtime.supervisor import Supervisor
from hotbunk.runtime.survey import default_budget, survey
from hotbunk.scheduler import POLICIES, Bound, Phase, Scheduler, actions, events
from hotbunk.units import brief_size
from hotbunk.worker import protocol as wire

log = logging.getLogger("hotbunk.runtime")

RETRY = 1.0
"""Seconds until a failed load is tried again."""
STRIKES = 3
"""Failed loads of a model, or workers lost while serving one request, after which hotbunk gives up on it."""
_numbers = itertools.count(1)


class Driver:
    """One device and the jobs on it. All of it belongs to one event loop; nothing here blocks."""

    def __init__(self, config: Config, device: DeviceConfig, spill: Path) -> None:
        """``spill``: folder for suspended states that do not fit in ``config.held_memory``."""
        self.device = device
        self.entries: dict[str, Entry] = {}
        self.jobs: dict[int, LiveGeneration] = {}
        self._journal = Journal()
        policy = POLICIES[config.policy](Bound(config.max_wait, config.max_queue), config.quantum)
        self._scheduler = Scheduler(device.budget or 0, policy)
        self._supervisor = Supervisor(
            lambda: Worker(device, config.held_memory, spill, config.hang_after), self._take, self._lose, self._restore
        )
        self._moves: dict[str, asyncio.Future[None]] = {}
        self._wake: asyncio.TimerHandle | None = None

    async def start(self, models: list[Served]) -> None:
        """Start the worker, open and price ``models``, and begin to serve them.

        Raises:
            ConfigError: the device cannot be had, or a model to be kept resident does not fit.
        """
        hello = await self._supervisor.start()
        budget = self.device.budget or default_budget(hello)
        self._scheduler = Scheduler(budget, self._scheduler.policy)
        log.info("device %s (%s), budget %s", hello.device, hello.description, brief_size(budget))
        if not hello.moves:
            log.warning("layers cannot be moved live here, so models are loaded the ordinary way: %s", hello.reason)
        self.entries = {served.id: Entry(served) for served in models}
        await survey(self.entries.values(), budget, self._supervisor.ask)
        for entry in self.entries.values():
            if not entry.problem:
                self._tell(entry.added(monotonic()))

    async def close(self) -> None:
        """End the worker; jobs still running fail."""
        for job in list(self.jobs.values()):
            self._drop(job, "hotbunk is shutting down")
        if self._wake:
            self._wake.cancel()
        await self._supervisor.close()

    # ------------------------------------------------------------ from above

    def submit(self, job: Job) -> LiveGeneration:
        """Queue a job.

        Raises:
            Overloaded: it could not be started within the bound on waiting.
        """
        generation = LiveGeneration(next(_numbers), job, self._cancel)
        self.jobs[generation.number] = generation
        for action in self._tell(events.Submitted(monotonic(), job.model, generation.number)):
            if isinstance(action, actions.Refuse) and action.sequence == generation.number:
                del self.jobs[generation.number]
                raise Overloaded(f"{job.model} cannot take the request: {action.reason}", ceil(action.retry_after))
        return generation

    async def load(self, model: str, layers: int | None) -> None:
        """Have a model loaded, with ``layers`` on the device or as many as fit; returns when it is.

        Raises:
            BadRequest: there is no such residency, or no room for it.
        """
        entry, view = self.entries[model], self._scheduler.snapshot.models[model]
        placement = await self._priced(entry, layers) if layers is not None else None
        if view.phase is Phase.READY and (placement is None or view.placement == placement):
            return
        await self._moved(model, events.Wanted(monotonic(), model, placement))

    async def unload(self, model: str) -> None:
        """Have a model leave the device; its running sequences are preempted and wait for it to come back."""
        if self._scheduler.snapshot.models[model].resident:
            await self._moved(model, events.Dismissed(monotonic(), model))

    async def _priced(self, entry: Entry, layers: int) -> Placement:
        if not 0 <= layers <= entry.layers:
            raise BadRequest(f"{entry.served.id} has {entry.layers} layers; {layers} is impossible", "layers")
        ask = wire.Predict(entry.served.id, entry.context, entry.served.slots, layers)
        answer = await self._supervisor.ask(ask)
        assert isinstance(answer, wire.Predicted)
        need, budget = answer.placement.device.total, self._scheduler.snapshot.budget
        if need > budget:
            raise BadRequest(f"{layers} layers take {brief_size(need)}; the budget is {brief_size(budget)}", "layers")
        return answer.placement

    async def _moved(self, model: str, order: events.Event) -> None:
        """Give an administrator's order and wait until the model has moved."""
        future = self._moves.setdefault(model, asyncio.get_running_loop().create_future())
        decided = self._tell(order)
        moving = self._scheduler.snapshot.models[model]
        if moving.phase is Phase.READY and not any(isinstance(a, actions.Move) for a in decided):
            self._settle(model)
            raise BadRequest(f"there is no room for {model} in that form now; unload another model first", "layers")
        await asyncio.shield(future)

    def _settle(self, model: str, error: Exception | None = None) -> None:
        future = self._moves.pop(model, None)
        if future and not future.done():
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _cancel(self, generation: LiveGeneration) -> None:
        """The client is gone. A worker that has the sequence frees it and says so; until then its slot is taken."""
        if generation.working:
            self._supervisor.send(wire.Cancel(generation.number))
        else:
            self._end(generation, wire.Ended(generation.number, "cancelled"))

    # ------------------------------------------------------------ decisions

    def _tell(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
        decided = self._scheduler.handle(event)
        if self._wake:
            self._wake.cancel()
            self._wake = None
        for action in decided:
            if isinstance(action, actions.Wake):
                loop = asyncio.get_running_loop()
                self._wake = loop.call_later(max(0.0, action.at - monotonic()), self._tick)
            else:
                self._carry_out(action)
        return decided

    def _tick(self) -> None:
        self._tell(events.Tick(monotonic()))

    def _carry_out(self, action: actions.Decision) -> None:
        entry, now = self.entries[action.model], monotonic()
        match action:
            case actions.Load() | actions.Resize():
                entry.came = (now, now)
                kind = wire.Load if isinstance(action, actions.Load) else wire.Resize
                self._supervisor.send(kind(action.model, action.placement))
            case actions.Unload():
                entry.left = now
                self._supervisor.send(wire.Unload(action.model))
            case actions.Start():
                self._supervisor.send(self.jobs[action.sequence].command())
                self.jobs[action.sequence].started(entry.came)
            case actions.Suspend():
                self.jobs[action.sequence].paused()
                self._supervisor.send(wire.Suspend(action.sequence))
            case actions.Resume():
                self._supervisor.send(wire.Resume(action.sequence))
        self._journal.note(action)

    # ------------------------------------------------------------ reports

    def _take(self, report: wire.Report) -> None:
        match report:
            case wire.Produced():
                for token in report.tokens:
                    if job := self.jobs.get(token.sequence):
                        job.push(token)
            case wire.Ended():
                if job := self.jobs.get(report.sequence):
                    self._end(job, report)
            case wire.Loaded():
                self._loaded(report)
            case wire.Unloaded():
                self._unloaded(report)
            case wire.Suspended():
                self._suspended(report)
            case wire.Resumed():
                if job := self.jobs.get(report.sequence):
                    job.resumed()
                    self.entries[job.job.model].counts["resumes"] += 1
                    self._journal.carried(report.sequence, "resume", seconds=report.seconds, bytes=report.size)
            case wire.Failed():
                self._failed(report)

    def _end(self, job: LiveGeneration, report: wire.Ended) -> None:
        self.jobs.pop(job.number)
        job.end(report)
        self._tell(events.Finished(monotonic(), job.job.model, job.number))

    def _drop(self, job: LiveGeneration, why: str) -> None:
        self._end(job, wire.Ended(job.number, "error", why))

    def _loaded(self, report: wire.Loaded) -> None:
        now, entry = monotonic(), self.entries[report.model]
        entry.failures = 0
        begin, _ = entry.came or (now, now)
        entry.came = (begin, now)
        entry.counts["loads"] += 1
        entry.counts["bytes_moved"] += report.moved
        cost = {"seconds": report.seconds, "bytes": report.moved, "steps": report.steps}
        self._journal.moved(report.model, "load", "resize", **cost)
        if entry.costs:
            entry.costs.loads.append(now - begin)
            self._learned(entry)
        self._tell(events.Loaded(now, report.model, report.placement, report.device))
        self._settle(report.model)

    def _unloaded(self, report: wire.Unloaded) -> None:
        now, entry = monotonic(), self.entries[report.model]
        entry.counts["unloads"] += 1
        self._journal.moved(report.model, "unload", seconds=report.seconds, bytes=report.freed)
        if entry.costs:
            entry.costs.leaves.append(now - entry.left)
            self._learned(entry)
        self._tell(events.Unloaded(now, report.model))
        self._settle(report.model)

    def _learned(self, entry: Entry) -> None:
        assert entry.costs
        self._tell(events.Learned(monotonic(), entry.served.id, entry.costs.load, entry.costs.leave))

    def _suspended(self, report: wire.Suspended) -> None:
        if job := self.jobs.get(report.sequence):
            job.paused()
            self.entries[job.job.model].counts["suspends"] += 1
            self._journal.carried(report.sequence, "suspend", seconds=report.seconds, bytes=report.size)
            self._tell(events.Suspended(monotonic(), job.job.model, report.sequence))

    def _failed(self, report: wire.Failed) -> None:
        log.warning("the worker could not %s %s: %s", report.command.lower(), report.model or "", report.message)
        if report.sequence is not None:
            if job := self.jobs.get(report.sequence):
                self._supervisor.send(wire.Cancel(report.sequence))  # whatever is left of it there
                self._drop(job, report.message)
        elif report.model in self.entries and report.command in ("Load", "Resize"):
            self._settle(report.model, UnusableModel(report.message))
            self._supervisor.send(wire.Unload(report.model))  # whatever is left of it there
            self.entries[report.model].left = monotonic()
            self._tell(events.Failed(monotonic(), report.model, monotonic() + RETRY))
            self._strike(self.entries[report.model], report.message)

    def _strike(self, entry: Entry, why: str) -> None:
        """A model that fails to load again and again is given up, and so are those who wait for it."""
        entry.failures += 1
        if entry.failures < STRIKES or entry.problem:
            return
        entry.problem = f"it could not be loaded {STRIKES} times: {why}"
        for job in [j for j in self.jobs.values() if j.job.model == entry.served.id]:
            self._drop(job, entry.problem)
        self._tell(events.Removed(monotonic(), entry.served.id))

    # ------------------------------------------------------------ loss and recovery

    def _lose(self) -> None:
        """The worker is gone. Whoever ran there waits again, from the tokens we have."""
        for model in list(self._moves):
            self._settle(model, WorkerLost("the worker was lost while it moved the model"))
        models = self._scheduler.snapshot.models.values()
        moving = [m.id for m in models if m.phase in (Phase.LOADING, Phase.RESIZING)]
        self._tell(events.Lost(monotonic()))
        for job in list(self.jobs.values()):
            job.lost()
            if job.cancelled:
                self._end(job, wire.Ended(job.number, "cancelled"))
            elif job.timings.recoveries >= STRIKES:
                self._drop(job, f"the worker was lost {STRIKES} times while it served this request")
        for model in moving:
            self._strike(self.entries[model], "the worker was lost while it loaded the model")

    async def _restore(self) -> None:
        for entry in self.entries.values():
            if not entry.problem:
                await self._supervisor.ask(wire.Open(entry.served.id, str(entry.served.path)))
        self._tell(events.Restored(monotonic()))

    # ------------------------------------------------------------ to be seen

    def state(self) -> dict[str, Any]:
        """This device's share of ``/api/state``."""
        worker, snapshot = self._supervisor.worker, self._scheduler.snapshot
        hello, beat = worker.hello, worker.beat
        name = hello.device if hello else self.device.name
        device = {
            "name": name,
            "spec": self.device.name,
            "description": hello.description if hello else "",
            "up": snapshot.up,
            "pid": worker.pid,
            "restarts": self._supervisor.restarts,
            "budget": snapshot.budget,
            "used": snapshot.used,
            "reported": beat.device if beat else 0,
            "memory_total": hello.memory_total if hello else 0,
            "held": beat.held if beat else 0,
            "spilled": beat.spilled if beat else 0,
            "rss": beat.rss if beat else 0,
            "moves_live": hello.moves if hello else False,
            "trouble": beat.trouble if beat else "",
        }
        models = snapshot.models
        return {
            "devices": [device],
            "models": [entry.state(name, models.get(id)) for id, entry in self.entries.items()],
            "queue": [
                {"sequence": s.id, "model": m.id, "waited": waited(s.since), "suspended": s.held}
                for m in models.values()
                for s in m.queue
            ],
            "sequences": [self._sequence(job) for job in self.jobs.values()],
            "decisions": list(self._journal.notes),
            "counters": {id: dict(entry.counts) for id, entry in self.entries.items()},
        }

    def _sequence(self, job: LiveGeneration) -> dict[str, Any]:
        model = self._scheduler.snapshot.models.get(job.job.model)
        running = bool(model) and any(s.id == job.number for s in model.running) if model else False
        preempted = job.working and not running
        return {
            "sequence": job.number,
            "model": job.job.model,
            "state": "running" if running else "suspended" if preempted else "waiting",
            "prompt_tokens": len(job.job.prompt),
            "generated_tokens": len(job.generated),
            "age": waited(job.arrived),
            "preemptions": job.timings.preemptions,
        }
