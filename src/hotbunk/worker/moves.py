"""Moves: give a model its placement, change it, take it all back. What goes off the device goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from time import perf_counter

from hotbunk.errors import HotbunkError
from hotbunk.llama.pool import pool
from hotbunk.placement import Placement
from hotbunk.worker.protocol import Loaded, Report, Suspended, Unloaded
from hotbunk.worker.runner import Runner
from hotbunk.worker.sequence import Sequence


class Steps(dict[str, float]):
    """Seconds by step."""

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a step; the same name adds up."""
        began = perf_counter()
        try:
            yield
        finally:
            self[name] = self.get(name, 0.0) + perf_counter() - began


class Move:
    """A load or a resize on its way: the bytes of its promotion may still be moving.

    ``arrival`` is None if nothing is under way any more; else nothing of the model may be evaluated before it is done,
    and ``finish`` called.
    """

    def __init__(self, runner: Runner, placement: Placement, pinned: bool, arrivals: Executor) -> None:
        self.runner, self.placement, self.pinned = runner, placement, pinned
        self.arrival: Future[None] | None = None
        self.steps, self.moved = Steps(), 0
        self._arrivals = arrivals
        self._free = _free(runner)
        self._began = perf_counter()
        self._saved: list[tuple[Sequence, Suspended]] = []

    def finish(self, report: Callable[[Report], None]) -> Loaded:
        """Bring back the sequences that ran; those for which there is no place now are reported as suspended."""
        runner, steps = self.runner, self.steps
        with steps("kv_in"):
            left = [suspended for sequence, suspended in self._saved if not _return(runner, sequence)]
        for suspended in left:
            report(suspended)
        seconds, driver = perf_counter() - self._began, self._free - _free(runner)
        return Loaded(runner.name, self.placement, runner.device, self.moved, seconds, dict(steps), driver, self.pinned)

    def begin(self, report: Callable[[Report], None]) -> None:
        """Do all but wait; with no context to keep, sequences that run are suspended meanwhile.

        Raises:
            HotbunkError: libllama failed; the model is then unloaded and its sequences are suspended.
        """
        try:
            if _keeps(self.runner, self.placement):
                self._promote()
            else:
                self._rebuild()
        except Exception:
            with self.steps("kv_out"):
                self._saved += _suspend_all(self.runner)
            _strip(self.runner)
            for _, suspended in self._saved:
                report(suspended)
            raise

    def _rebuild(self) -> None:
        runner, steps = self.runner, self.steps
        if runner.context is not None:
            with steps("kv_out"):
                self._saved = _suspend_all(runner)
            with steps("demote"):
                _free_context(runner)
        self._promote()
        with steps("context"):  # while the bytes are on their way
            runner.context = runner.model.context(self.placement.context, self.placement.slots)

    def _promote(self) -> None:
        model, place = self.runner.model, self.placement
        began, name = perf_counter(), "promote" if place.layers >= model.residency else "demote"
        with self.steps(name):
            self.moved = model.promote(place.layers, place.experts, place.cached)
        if shell := model.opening:
            self.steps["shell"] = shell
            self.steps[name] -= shell

        def arrive() -> None:
            model.settle()
            self.steps[name] = perf_counter() - began - shell

        if model.moving:
            self.arrival = self._arrivals.submit(arrive)


def load(
    runner: Runner, placement: Placement, pinned: bool, arrivals: Executor, report: Callable[[Report], None]
) -> Move:
    """Begin to promote the layers, and make the context.

    Raises:
        HotbunkError: it is loaded already, the placement is impossible, or libllama failed; nothing is then loaded.
    """
    if runner.context is not None:
        raise HotbunkError(f"model {runner.name} is loaded already: resize it, or unload it first")
    return _begin(Move(runner, placement, pinned, arrivals), report)


def resize(
    runner: Runner, placement: Placement, pinned: bool, arrivals: Executor, report: Callable[[Report], None]
) -> Move:
    """Begin to change the placement of a loaded model while its sequences live.

    Where the new slots are too few or too short for all of them, the youngest (or those that are too long) are left
    suspended.

    Raises:
        HotbunkError: it is not loaded, the placement is impossible, or libllama failed; in the last case the model is
            then unloaded and its sequences are suspended.
    """
    if runner.context is None:
        raise HotbunkError(f"model {runner.name} is not loaded: load it first")
    return _begin(Move(runner, placement, pinned, arrivals), report)


def unload(runner: Runner, report: Callable[[Report], None]) -> Unloaded:
    """Suspend what runs, free the context and demote every layer; harmless when nothing is loaded."""
    began, there = perf_counter(), runner.device
    for _, suspended in _suspend_all(runner):
        report(suspended)
    _strip(runner)
    seconds, kept = perf_counter() - began, min(there.weights, pool(runner.model.device).bytes)
    return Unloaded(runner.name, there.total - runner.device.total, seconds, kept)


def _begin(move: Move, report: Callable[[Report], None]) -> Move:
    _check(move.runner, move.placement)
    move.begin(report)
    return move


def _keeps(runner: Runner, placement: Placement) -> bool:
    """Whether the context stays: only weights move then, which is the cheaper the fewer they are."""
    context = runner.context
    return (
        context is not None
        and (context.length, context.slots) == (placement.context, placement.slots)
        and runner.model.keeps_contexts(placement.layers, placement.experts, placement.cached)
    )


def _suspend_all(runner: Runner) -> list[tuple[Sequence, Suspended]]:
    """Suspend what runs, oldest first; what cannot be saved ends here."""
    saved = []
    for sequence in runner.running():
        try:
            saved.append((sequence, runner.suspend(sequence)))
        except HotbunkError as error:
            runner.end(sequence, "error", str(error))
    return saved


def _return(runner: Runner, sequence: Sequence) -> bool:
    """Bring a sequence back after a resize; False if there is no place for it now."""
    try:
        runner.resume(sequence)  # or end it
    except HotbunkError:
        return False
    return True


def _strip(runner: Runner) -> None:
    runner.context = None
    runner.model.park()


def _free_context(runner: Runner) -> None:
    if runner.context is not None:
        runner.context.close()
        runner.context = None


def _free(runner: Runner) -> int:
    """Bytes that the driver says are free, and those that the pool has kept."""
    device = runner.model.device
    return device.memory()[0] + pool(device).bytes


def _check(runner: Runner, placement: Placement) -> None:
    if not 0 <= placement.layers <= runner.model.layers:
        raise HotbunkError(f"model {runner.name} has {runner.model.layers} layers, not {placement.layers}")
    if placement.context < 1 or placement.slots < 1:
        raise HotbunkError(
            f"model {runner.name} cannot have {placement.slots} slots of {placement.context} tokens: "
            "ask for at least one of each"
        )
