"""Moves: give a model its placement, change it, take it all back. What goes off the device goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from hotbunk.errors import HotbunkError
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


def load(runner: Runner, placement: Placement) -> Loaded:
    """Promote the layers and make the context.

    Raises:
        HotbunkError: it is loaded already, the placement is impossible, or libllama failed; nothing is then loaded.
    """
    if runner.context is not None:
        raise HotbunkError(f"model {runner.name} is loaded already: resize it, or unload it first")
    _check(runner, placement)
    began, steps = perf_counter(), Steps()
    try:
        moved = _stand(runner, placement, steps)
    except Exception:
        _strip(runner)
        raise
    return Loaded(runner.name, placement, runner.device, moved, perf_counter() - began, steps)


def unload(runner: Runner, report: Callable[[Report], None]) -> Unloaded:
    """Suspend what runs, free the context and demote every layer; harmless when nothing is loaded."""
    began, freed = perf_counter(), runner.device.total
    for _, suspended in _suspend_all(runner):
        report(suspended)
    _strip(runner)
    return Unloaded(runner.name, freed - runner.device.total, perf_counter() - began)


def resize(runner: Runner, placement: Placement, report: Callable[[Report], None]) -> Loaded:
    """Change the placement of a loaded model while its sequences live.

    Where the new slots are too few or too short for all of them, the youngest (or those that are too long) are left
    suspended.

    Raises:
        HotbunkError: it is not loaded, the placement is impossible, or libllama failed; in the last case the model is
            then unloaded and its sequences are suspended.
    """
    if runner.context is None:
        raise HotbunkError(f"model {runner.name} is not loaded: load it first")
    _check(runner, placement)
    began, steps = perf_counter(), Steps()
    with steps("kv_out"):
        saved = _suspend_all(runner)
    try:
        moved = _stand(runner, placement, steps)
    except Exception:
        _strip(runner)
        for _, suspended in saved:
            report(suspended)
        raise
    with steps("kv_in"):
        left = [suspended for sequence, suspended in saved if not _return(runner, sequence)]
    for suspended in left:
        report(suspended)
    return Loaded(runner.name, placement, runner.device, moved, perf_counter() - began, steps)


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


def _stand(runner: Runner, placement: Placement, steps: Steps) -> int:
    with steps("demote"):
        _free_context(runner)
    with steps("promote" if placement.layers >= runner.model.residency else "demote"):
        moved = runner.model.promote(placement.layers)
    with steps("context"):
        runner.context = runner.model.context(placement.context, placement.slots)
    return moved


def _strip(runner: Runner) -> None:
    _free_context(runner)
    runner.model.promote(0)


def _free_context(runner: Runner) -> None:
    if runner.context is not None:
        runner.context.close()
        runner.context = None


def _check(runner: Runner, placement: Placement) -> None:
    if not 0 <= placement.layers <= runner.model.layers:
        raise HotbunkError(f"model {runner.name} has {runner.model.layers} layers, not {placement.layers}")
    if placement.context < 1 or placement.slots < 1:
        raise HotbunkError(
            f"model {runner.name} cannot have {placement.slots} slots of {placement.context} tokens: "
            "ask for at least one of each"
        )
