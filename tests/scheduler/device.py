"""A simulated device and driver for the scheduler's tests: carries out actions in order, one after the other, in
times that stay within the bounds the scheduler was told, and checks at every step what must always be true."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any

from hotbunk.placement import Footprint, Placement
from hotbunk.scheduler import Phase, Scheduler, actions, events


def placement(size: int, slots: int = 2, layers: int = 10) -> Placement:
    return Placement(layers, 1024, slots, Footprint(weights=size))


@dataclass
class Request:
    """``work``: seconds it needs in a slot; inf: for ever."""

    model: str
    arrived: float
    work: float
    started: float | None = None
    resumed: float | None = None
    ended: float | None = None
    refused: bool = False
    waited: float = 0.0


@dataclass
class Device:
    scheduler: Scheduler
    pace: Callable[[], float] = lambda: 1.0  # share of its bound that a move really takes
    clock: float = 0.0
    busy: float = 0.0
    requests: dict[int, Request] = field(default_factory=dict)
    log: list[Any] = field(default_factory=list)
    resident: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    running: dict[str, set[int]] = field(default_factory=dict)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _ticket: Any = field(default_factory=count)
    _numbers: Any = field(default_factory=count)
    _wake: int = 0

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._ticket), act))

    def arrive(self, time: float, model: str, work: float, prompt: int = 0) -> None:
        def act() -> None:
            number = next(self._numbers)
            self.requests[number] = Request(model, self.clock, work)
            self.tell(events.Submitted(self.clock, model, number, prompt))

        self.at(time, act)

    def change(self, time: float, budget: int) -> None:
        self.at(time, lambda: self.tell(events.Budget(self.clock, budget)))

    def expect(self, time: float, model: str, lapse: float = 5.0) -> None:
        self.at(time, lambda: self.tell(events.Expected(self.clock, model, self.clock + lapse)))

    def run(self, until: float = inf) -> None:
        while self._queue and self._queue[0][0] <= until:
            self.clock, _, act = heapq.heappop(self._queue)
            act()

    def tell(self, event: events.Event) -> None:
        decided = self.scheduler.handle(event)
        self._wake += 1
        for action in decided:
            self.log.append((self.clock, action))
            self._carry_out(action)
        self.check()

    def check(self) -> None:
        snapshot = self.scheduler.snapshot
        # when the budget has just fallen, a move under way may be what gives back enough
        if all(m.phase in (Phase.ABSENT, Phase.READY) for m in snapshot.models.values()):
            assert sum(self.resident.values()) <= snapshot.budget
            assert snapshot.used <= snapshot.budget
        known = [s.id for m in snapshot.models.values() for s in m.sequences()]
        alive = [n for n, r in self.requests.items() if r.ended is None and not r.refused]
        assert sorted(known) == sorted(alive)
        assert all(len(ids) <= self.slots[m] for m, ids in self.running.items() if m in self.slots)

    def _carry_out(self, action: Any) -> None:
        if isinstance(action, actions.Wake):
            self._wait(action.at)
            return
        model = self.scheduler.snapshot.models[action.model]
        match action:
            case actions.Load():
                self._load(action, model.load * self.pace())
            case actions.Resize():
                assert len(self.running.get(action.model, ())) <= action.placement.slots
                self._load(action, model.load * self.pace())
            case actions.Unload():
                self._after(model.leave / 2 * self.pace(), lambda: self._unload(action.model))
            case actions.Suspend():
                self._after(model.leave / 2 / model.slots * self.pace(), lambda: self._suspend(action))
            case actions.Start() | actions.Resume():
                self._after(0.0, lambda: self._start(action))
            case actions.Refuse():
                assert action.retry_after > 0
                self.requests[action.sequence].refused = True

    def _wait(self, at: float) -> None:
        assert at > self.clock
        mine = self._wake
        self.at(at, lambda: self.tell(events.Tick(self.clock)) if mine == self._wake else None)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """Moves are carried out one after the other."""
        self.busy = max(self.busy, self.clock) + seconds
        self.at(self.busy, act)

    def _load(self, action: actions.Load | actions.Resize, seconds: float) -> None:
        before = self.resident.get(action.model, 0)
        self.resident[action.model] = after = max(before, action.placement.device.total)
        # one that becomes smaller may do so while others leave, since the budget has fallen
        assert after == before or sum(self.resident.values()) <= self.scheduler.snapshot.budget
        self.slots[action.model] = action.placement.slots

        def done() -> None:
            self.resident[action.model] = action.placement.device.total
            self.tell(events.Loaded(self.clock, action.model, action.placement, action.placement.device))

        self._after(seconds, done)

    def _unload(self, model: str) -> None:
        assert not self.running.get(model)
        del self.resident[model], self.slots[model]
        self.tell(events.Unloaded(self.clock, model))

    def _start(self, action: actions.Start | actions.Resume) -> None:
        request = self.requests[action.sequence]
        assert isinstance(action, actions.Resume) == (request.started is not None)
        request.waited = self.clock - request.arrived if request.started is None else request.waited
        request.started = self.clock if request.started is None else request.started
        request.resumed = resumed = self.clock
        self.running.setdefault(action.model, set()).add(action.sequence)
        assert len(self.running[action.model]) <= self.slots[action.model]

        def end() -> None:
            if request.resumed == resumed and request.ended is None:
                self._finish(action)

        if request.work < inf:
            self.at(self.clock + request.work, end)

    def _finish(self, action: Any) -> None:
        self.requests[action.sequence].ended = self.clock
        self.running[action.model].discard(action.sequence)
        self.tell(events.Finished(self.clock, action.model, action.sequence))

    def _suspend(self, action: actions.Suspend) -> None:
        request = self.requests[action.sequence]
        if request.ended is not None:
            return
        assert request.resumed is not None
        request.work = max(request.work - (self.clock - request.resumed), 1e-3)
        request.resumed = None
        self.running[action.model].discard(action.sequence)
        self.tell(events.Suspended(self.clock, action.model, action.sequence))


def loads(device: Device) -> list[tuple[float, str]]:
    return [(time, a.model) for time, a in device.log if isinstance(a, actions.Load)]


def unloads(device: Device) -> list[str]:
    return [a.model for _, a in device.log if isinstance(a, actions.Unload)]
