"""The driver of one device: tells its scheduler what happens, and has its worker do what the scheduler decides."""

from __future__ import annotations

import asyncio
import itertools
import logging
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from hotbunk.config import Config, DeviceConfig
from hotbunk.errors import EngineError, Overloaded, UnusableModel
from hotbunk.llama import header
from hotbunk.models import Served
from hotbunk.runtime import view
from hotbunk.runtime.catalog import Entry
from hotbunk.runtime.generation import LiveGeneration
from hotbunk.runtime.job import Job
from hotbunk.runtime.journal import Journal
from hotbunk.runtime.knowledge import Knowledge
from hotbunk.runtime.learning import Learning
from hotbunk.runtime.memory import Memory
from hotbunk.runtime.moves import Moves, strike, unopened
from hotbunk.runtime.orders import Orders
from hotbunk.runtime.process import Shares, Worker, WorkerLost
from hotbunk.runtime.progress import Progress
from hotbunk.runtime.supervisor import Supervisor
from hotbunk.runtime.survey import consider, survey
from hotbunk.runtime.tally import Tally
from hotbunk.scheduler import POLICIES, Bound, Phase, Scheduler, Snapshot, actions, events
from hotbunk.units import brief_size
from hotbunk.worker import protocol as wire

log = logging.getLogger("hotbunk.runtime")

RECOVERIES = 3
"""Workers lost while serving one request, after which hotbunk gives up on it."""
EXPECTATION = 5.0
"""Seconds that a prompt may take to prepare; a model is expected no longer."""
_numbers = itertools.count(1)


class Driver:
    """One device and the jobs on it. All of it belongs to one event loop; nothing here blocks."""

    def __init__(self, config: Config, device: DeviceConfig, spill: Path) -> None:
        """``spill``: folder for suspended states that do not fit in host memory."""
        self.device = device
        self.entries: dict[str, Entry] = {}
        self.jobs: dict[int, LiveGeneration] = {}
        self._journal, self._tally, self._progress = Journal(), Tally(), Progress()
        policy = POLICIES[config.policy](Bound(config.max_wait, config.max_queue), config.quantum)
        self._scheduler = Scheduler(device.budget or 0, policy, enduring=True)
        shares = Shares.of(config)
        self._supervisor = Supervisor(
            lambda graphs: Worker(device, shares, spill, config.hang_after, graphs),
            self._take,
            self._lose,
            self._wait_on,
            self._restore,
        )
        self._memory = Memory(self.entries, self._ask, self._tell, self._view, policy.splits)
        self._orders = Orders(self.entries, self._ask, self._tell, self._view, self._memory.shortage)
        send = self._supervisor.send
        self._moves = Moves(self.entries, send, self._tell, self._view, self._memory, self._orders, self._journal)
        self._learning = Learning(self.jobs, Knowledge(config.store))
        self._measure = config.measure
        self._reviving = asyncio.Lock()
        self._wait = config.max_wait
        self._wake: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Start the worker, and find out what the machine can do: measure it, if need be.

        Raises:
            ConfigError: the device cannot be had.
        """
        hello = await self._supervisor.start()
        if not self._learning.knowledge.find(hello) and self._measure:
            async with self._supervisor.away():  # an RPC device serves one process at a time
                await self._learning.knowledge.measure(self.device.name)

    async def start(self, models: list[Served]) -> None:
        """Open and price ``models``, and begin to serve them.

        Raises:
            ConfigError: a model to be kept resident does not fit.
        """
        hello = self._supervisor.worker.hello
        assert hello
        budget = self.device.budget or hello.budget
        self._scheduler = Scheduler(budget, self._scheduler.policy, enduring=True)
        log.info("device %s (%s), budget %s", hello.device, hello.description, brief_size(budget))
        if not hello.moves:
            log.warning("layers cannot be moved live here, so models are loaded the ordinary way: %s", hello.reason)
        self.entries.update({served.id: Entry(served) for served in models})
        await survey(self.entries.values(), budget, self._supervisor.ask, self._learning.meet)
        await self._memory.begin(budget, self._supervisor.worker.hello or hello)
        for entry in self.entries.values():
            if not entry.problem:
                self._tell(entry.added(monotonic()))

    async def close(self) -> None:
        """End the worker; jobs still running fail."""
        for job in list(self.jobs.values()):
            self._drop(job, "hotbunk is shutting down")
        if self._wake:
            self._wake.cancel()
        await self._memory.close()
        await self._supervisor.close()

    # ------------------------------------------------------------ from above

    def submit(self, job: Job) -> LiveGeneration:
        """Queue a job.

        Raises:
            Overloaded: it could not be started within the bound on waiting.
        """
        generation = LiveGeneration(next(_numbers), job, self._cancel)
        self.jobs[generation.number] = generation
        for action in self._tell(
            events.Submitted(monotonic(), job.model, generation.number, len(job.prompt), job.max_tokens)
        ):
            if isinstance(action, actions.Refuse) and action.sequence == generation.number:
                del self.jobs[generation.number]
                why = f"{job.model} cannot take the request: {action.reason}"
                raise Overloaded(why, ceil(action.retry_after), len(self.jobs))
        return generation

    def expect(self, model: str) -> None:
        """A request for the model is being prepared: if it can be loaded meanwhile, at nobody's cost, it is."""
        now = monotonic()
        self._tell(events.Expected(now, model, now + EXPECTATION))

    async def revive(self, model: str) -> None:
        """Serve a model again that has been given up, or never could be served, if that is possible by now.

        Raises:
            UnusableModel: it is not.
        """
        entry, headroom = self.entries[model], self._memory.headroom
        async with self._reviving:
            if not entry.problem:
                return  # somebody else has seen to it
            try:
                if entry.best:  # it has been served: its vocabulary is that of the first file
                    header.check(entry.sources)
            except EngineError as error:
                raise UnusableModel(str(error)) from error
            budget = headroom.configured if headroom else self._view().budget
            kept = [e for e in self.entries.values() if e.served.keep_resident and e is not entry and not e.problem]
            room = budget - sum(e.best.device.total for e in kept if e.best)
            if why := await consider(entry, room, budget, self._ask, self._learning.meet):
                raise UnusableModel(f"{model} still cannot be served: {why}")
            entry.revived()
            self._tell(entry.added(monotonic()))
            await self._memory.refitted()  # of the budget as it is now, maybe less

    async def load(self, model: str, layers: int | None) -> None:
        """Have a model loaded, with ``layers`` on the device or as many as fit; returns when it is.

        Raises:
            BadRequest: there is no such residency, or no room for it.
            UnusableModel: the load failed.
        """
        await self._orders.load(model, layers)

    async def unload(self, model: str) -> None:
        """Have a model leave the device; its running sequences are preempted and wait for it to come back."""
        await self._orders.unload(model)

    def _cancel(self, generation: LiveGeneration) -> None:
        """The client is gone. A worker that has the sequence frees it and says so; until then its slot is taken."""
        if generation.working:
            self._supervisor.send(wire.Cancel(generation.number))
        else:
            self._end(generation, wire.Ended(generation.number, "cancelled"))

    # ------------------------------------------------------------ decisions

    def _view(self) -> Snapshot:
        return self._scheduler.snapshot

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
        match action:
            case actions.Load() | actions.Resize() | actions.Unload():
                self._moves.order(action)
            case actions.Start():
                self._supervisor.send(self.jobs[action.sequence].command())
                self.jobs[action.sequence].started(self.entries[action.model].came)
            case actions.Suspend():
                self.jobs[action.sequence].paused()
                self._supervisor.send(wire.Suspend(action.sequence))
            case actions.Resume():
                self._supervisor.send(wire.Resume(action.sequence))
        self._journal.note(action)

    # ------------------------------------------------------------ reports

    def _take(self, report: wire.Report) -> None:
        self._handle(report)
        for name, costs in self._learning.take(report):
            entry = self.entries[name]
            entry.learnt(costs)
            if entry.placement and not entry.problem:
                self._tell(entry.added(monotonic()))

    def _handle(self, report: wire.Report) -> None:
        match report:
            case wire.Produced():
                self._tally.step(report)
                for token in report.tokens:
                    if job := self.jobs.get(token.sequence):
                        job.push(token)
            case wire.Ended():
                if job := self.jobs.get(report.sequence):
                    self._end(job, report)
            case wire.Loaded():
                self._moves.loaded(report)
            case wire.Unloaded():
                self._moves.unloaded(report)
            case wire.Suspended():
                self._suspended(report)
            case wire.Resumed():
                if job := self.jobs.get(report.sequence):
                    job.resumed()
                    self.entries[job.job.model].counts["resumes"] += 1
                    self._carried("resume", report)
            case wire.Failed():
                self._failed(report)
            case wire.Beat():
                self._heard(report)

    def _end(self, job: LiveGeneration, report: wire.Ended) -> None:
        self.jobs.pop(job.number)
        job.end(report)
        self._tell(events.Finished(monotonic(), job.job.model, job.number, len(job.generated)))

    def _drop(self, job: LiveGeneration, why: str) -> None:
        """End it with an error; whatever the worker has of it, its suspended state too, is freed."""
        if job.working and not job.cancelled:  # else it is freed already
            self._supervisor.send(wire.Cancel(job.number))
        self._end(job, wire.Ended(job.number, "error", why))

    def _suspended(self, report: wire.Suspended) -> None:
        if job := self.jobs.get(report.sequence):
            job.suspended()
            entry = self.entries[job.job.model]
            entry.counts["suspends"] += 1
            entry.bounds.suspended()
            self._carried("suspend", report)
            self._tell(events.Suspended(monotonic(), job.job.model, report.sequence, len(job.generated)))

    def _carried(self, kind: Literal["suspend", "resume"], report: wire.Suspended | wire.Resumed) -> None:
        self._tally.add(kind, report)
        self._journal.carried(report.sequence, kind, seconds=report.seconds, bytes=report.size, tier=report.tier)

    def _heard(self, beat: wire.Beat) -> None:
        self._progress.hear(beat.stored)
        self._tally.hear(beat.worked)
        before = self._view().budget
        self._memory.hear(beat)
        if self._view().budget < before:
            self._supervisor.send(wire.Trim(max(0, self._view().free)))
        self._orders.hear()
        for sequence, why in list(self._memory.overdue(self._wait)):
            self._drop(self.jobs[sequence], why)

    def _failed(self, report: wire.Failed) -> None:
        log.warning("the worker could not %s %s: %s", report.command.lower(), report.model or "", report.message)
        if report.sequence is not None:
            if job := self.jobs.get(report.sequence):
                self._drop(job, report.message)
        elif report.model in self.entries and report.command in ("Load", "Resize"):
            entry = self.entries[report.model]
            if self._moves.failed(report, entry):
                self._give_up(entry)
        elif report.command == "Unload":  # what is left of the model there, and what memory it has, nobody knows
            raise WorkerLost(f"the worker of {self.device.name} could not unload {report.model}: {report.message}")

    def _give_up(self, entry: Entry) -> None:
        """The model cannot be served any more, nor those who wait for it."""
        for job in [j for j in self.jobs.values() if j.job.model == entry.served.id]:
            self._drop(job, entry.problem or "")
        self._orders.failed(entry.served.id, UnusableModel(entry.problem or ""))
        self._tell(events.Removed(monotonic(), entry.served.id))

    # ------------------------------------------------------------ loss and recovery

    def _lose(self) -> None:
        """The worker is gone. Whoever ran there waits again, from the tokens we have."""
        self._orders.abandon(UnusableModel("the worker was lost while it moved the model; ask again"))
        self._learning.lost()
        models = self._scheduler.snapshot.models.values()
        moving = [m.id for m in models if m.phase in (Phase.LOADING, Phase.RESIZING)]
        self._tell(events.Lost(monotonic()))
        for job in list(self.jobs.values()):
            job.lost()
            if job.cancelled:
                self._end(job, wire.Ended(job.number, "cancelled"))
            elif job.timings.recoveries >= RECOVERIES:
                self._drop(job, f"the worker was lost {RECOVERIES} times while it served this request")
        for model in moving:
            if strike(self.entries[model], "the worker was lost while it loaded the model"):
                self._give_up(self.entries[model])

    def _wait_on(self, error: Exception) -> None:
        """There is no worker yet. Who has begun keeps waiting for one, the others no longer than they were promised."""
        since = monotonic() - self._wait
        late = [s.id for m in self._view().queued for s in m.newcomers if s.arrived <= since]
        for sequence in late:
            why = (
                f"no worker of {self.device.name} has come up for it within {self._wait:g} s: {error}; ask again later"
            )
            self._drop(self.jobs[sequence], why)

    async def _ask(self, command: wire.Open | wire.Predict) -> wire.Opened | wire.Predicted:
        """Ask the worker. While it is restored it does nothing else: what it is asked then is what kills it."""
        try:
            return await self._supervisor.ask(command)
        except WorkerLost:
            entry = self.entries[command.model]
            if self._supervisor.restoring and unopened(entry):
                self._give_up(entry)
            raise

    async def _restore(self) -> None:
        for entry in self.entries.values():
            served = entry.placement and not entry.problem
            if served and (why := await self._reopened(entry)):  # its file is gone, or another one: the others' are not
                log.error("%s cannot be served any more: %s", entry.served.id, why)
                entry.problem = why
                self._give_up(entry)
        hello, headroom = self._supervisor.worker.hello, self._memory.headroom
        if hello and headroom:  # else the survey goes on, and begins when it is done
            await self._memory.begin(headroom.configured, hello)
        self._tell(events.Restored(monotonic()))

    async def _reopened(self, entry: Entry) -> str:
        """Why a new worker cannot serve a model; empty if it can."""
        try:
            await self._ask(wire.Open(entry.served.id, str(entry.served.path)))
        except EngineError as error:
            return f"a new worker could not open it: {error}; to try again, load it by hand"
        entry.unopened = 0
        try:
            header.check(entry.sources)
        except EngineError as error:
            return str(error)
        return ""

    # ------------------------------------------------------------ to be seen

    def state(self) -> dict[str, Any]:
        """This device's share of ``/api/state``."""
        supervisor, snapshot, headroom = self._supervisor, self._scheduler.snapshot, self._memory.headroom
        device = view.device(self.device.name, supervisor.worker, supervisor.restarts, snapshot, headroom, self._tally)
        return {
            "devices": [device],
            "models": [
                entry.state(device["name"], snapshot.models.get(id), self._learning.state(id))
                for id, entry in self.entries.items()
            ],
            "queue": view.queue(snapshot),
            "sequences": [view.sequence(job, snapshot) for job in self.jobs.values()],
            "decisions": list(self._journal.notes),
            "counters": {id: dict(entry.counts) for id, entry in self.entries.items()},
        }
