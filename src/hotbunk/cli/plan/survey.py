"""What ``hotbunk plan`` has to know of models and machine: placements priced by a worker, and costs from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hotbunk.cli.files import named
from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.model import Costs
from hotbunk.costs.plan import Candidate, check, ladder
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Store
from hotbunk.errors import ConfigError, EngineError, UnusableModel
from hotbunk.llama import gguf
from hotbunk.measure.machine import full_roofline
from hotbunk.measure.machine import machine as fingerprint
from hotbunk.measure.wire import Died, Wire, worker
from hotbunk.models import CONTEXT
from hotbunk.placement import Placement
from hotbunk.worker.protocol import Hello, Open, Opened, Predict, Predicted

__all__ = ["Survey", "survey"]


@dataclass(frozen=True)
class Survey:
    """Models to plan for on a device. ``budget`` is in bytes, ``prompt`` in tokens.

    ``notes`` say which profiles there are that do not hold here, and why, and which models have shorter contexts than
    asked for; ``failed`` says which models cannot be used.
    """

    device: str
    threads: int
    budget: int
    prompt: int
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class _Model:
    """A model, its content's fingerprint, and its placements; ``note`` says where they are not what was asked for."""

    name: str
    fingerprint: str
    anatomy: Anatomy
    placements: tuple[Placement, ...]
    note: str


def survey(
    paths: Sequence[Path],
    device: str,
    threads: int | None,
    budget: int | None,
    context: int | None,
    slots: int,
    prompt: int | None,
    store: Path | None,
) -> Survey:
    """Look at models as they would stand on a device. ``budget`` None: what a server would use of what is free there.

    Raises:
        ConfigError: there is no such file, two have the same name, none fits the budget or the prompt, or the store
            cannot be used.
        EngineError: there is no such device.
        UnusableModel: no model can be used.
    """
    files = named(file for path in paths for file in gguf.find([path]))
    with Store(store) as kept:
        look = partial(_look, context=context, slots=slots, budget=budget)
        hello, seen = _seen(files, device, threads, look)
        models = [each for each in seen if isinstance(each, _Model)]
        failed = tuple(each for each in seen if isinstance(each, str))
        here, limit = fingerprint(hello), _limit(hello, budget)
        if not models:
            raise UnusableModel("; ".join(failed))
        length = prompt or min(1000, min(place.context for model in models for place in model.placements) // 2)
        models, refused = _fitting(models, length, limit)
        roofline = full_roofline(kept, here, device)  # after the worker: an RPC device has no ear for a second caller
        candidates = tuple(_candidate(kept, here, roofline, model) for model in models)
        notes = [note for each in models for note in (each.note, kept.near(here, each.fingerprint, each.name))]
    said = tuple(filter(None, notes))
    return Survey(hello.description, hello.threads, limit, length, candidates, said, (*failed, *refused))


def _fitting(models: Sequence[_Model], prompt: int, budget: int) -> tuple[list[_Model], list[str]]:
    """Those that there is something to plan of, and of the others a sentence each.

    Raises:
        ConfigError: of none.
    """
    fitting, refused = list[_Model](), list[ConfigError]()
    for model in models:
        try:
            check(model.name, model.placements, prompt, budget)
        except ConfigError as error:
            refused.append(error)
        else:
            fitting.append(model)
    if not fitting:
        raise refused[0]
    return fitting, [str(error) for error in refused]


def _seen(
    files: Mapping[str, Path], device: str, threads: int | None, look: Callable[[Wire, str, Path], _Model]
) -> tuple[Hello, list[_Model | str]]:
    """Each model, or a sentence why it cannot be used; where a worker dies over one, another one goes on."""
    seen, left = list[_Model | str](), list(files)
    while True:
        name = ""
        try:
            with worker(device, threads) as wire:
                while left:
                    name = left.pop(0)
                    seen.append(_tried(name, partial(look, wire, name, files[name])))
                return wire.hello, seen
        except Died as died:
            if not name:  # it was none of the models' fault
                raise
            seen.append(f"{name}: {died}")


def _tried(name: str, look: Callable[[], _Model]) -> _Model | str:
    try:
        return look()
    except Died:
        raise
    except (EngineError, UnusableModel) as error:
        return f"{name}: {error}"


def _limit(hello: Hello, budget: int | None) -> int:
    return hello.budget if budget is None else budget


def _look(wire: Wire, name: str, path: Path, context: int | None, slots: int, budget: int | None) -> _Model:
    facts = gguf.read(path)
    anatomy = dissect(facts, name)
    opened = wire.ask(Open(name, str(path)), Opened)
    # libllama would try to plan for any number, and take memory for each token
    length = min(context or CONTEXT, opened.context)
    places = list(_places(wire, anatomy, length, slots))
    if min(place.device.total for place in places) <= (limit := _limit(wire.hello, budget)):
        places.append(_ask(wire, Predict(name, length, slots, budget=limit)))  # the largest that fits
    shorter = f"--context {context}: {name} was trained for {length} tokens, which is what it is planned for"
    note = shorter if context and context > length else ""
    return _Model(name, content(facts.files), anatomy, tuple(dict.fromkeys(places)), note)


def _places(wire: Wire, anatomy: Anatomy, context: int, slots: int) -> Iterator[Placement]:
    layers = len(anatomy.layers)
    for count in ladder(layers):
        yield _ask(wire, Predict(anatomy.name, context, slots, count))
    if anatomy.experts:  # experts are given up first: each token reads but a few of them
        for blocks in ladder(anatomy.blocks)[1:]:
            yield _ask(wire, Predict(anatomy.name, context, slots, layers, experts=blocks))


def _ask(wire: Wire, question: Predict) -> Placement:
    return wire.ask(question, Predicted).placement


def _candidate(kept: Store, machine: Machine, roofline: Roofline, model: _Model) -> Candidate:
    costs = kept.costs(machine, model.fingerprint, model.anatomy) or Costs.prior(model.anatomy, roofline)
    measured = sum(not record.check for record in kept.records(machine, model.fingerprint))
    return Candidate(model.name, costs, model.placements, measured, roofline.h2d_pinned is not None)
