"""An order of experiments from the command line, and how it is carried out: whatever happens, results are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, count
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from hotbunk.errors import INTERRUPTED, ConfigError, UnusableModel
from hotbunk.extras import needs

if TYPE_CHECKING:  # they bring libllama and NumPy with them, which --help can do without
    from hotbunk.study.course import Extent, Study
    from hotbunk.study.preemption import Pair
    from hotbunk.study.results import Results
    from hotbunk.study.stage import Subject

__all__ = ["Order", "carry_out", "make_report"]


@dataclass(frozen=True)
class Order:
    """What was asked for. Empty tuples, and None, stand for what the experiment itself takes."""

    experiments: tuple[str, ...]
    models: tuple[Path, ...]
    device: str
    threads: int | None
    out: Path
    resume: bool
    quick: bool
    repeats: int | None
    seconds: float | None
    lengths: tuple[int, ...] = ()
    pairs: tuple[str, ...] = ()
    points: tuple[int, ...] = ()
    run: int | None = None
    counts: tuple[int, ...] = ()
    contexts: tuple[int, ...] = ()


def carry_out(order: Order) -> None:
    """Measure, then write report, summary and tables, also after an interruption.

    Raises:
        ConfigError: the results cannot be written, a package is missing, or the order makes no sense.
        EngineError: the device cannot be had.
        UnusableModel: no model can be used.
        typer.Exit: some of it could not be done (1), or it was interrupted (130).
    """
    from hotbunk.study import bus
    from hotbunk.study.course import Study
    from hotbunk.study.results import Results

    needs("matplotlib", "pyarrow")
    subjects, unusable = _subjects(order.models)
    pairs = _pairs(order.pairs, list(subjects)) if "preemption" in order.experiments else []
    pinned = bus.check(order.device)
    results = Results(order.out, order.resume)
    with _telling() as say:
        study = Study(order.device, order.threads, subjects, results, say, _extent(order), pairs, pinned, unusable)
        interrupted = _interrupted(study, order)
    _finish(results)
    for sentence in study.omitted:
        typer.echo(f"left out: {sentence}", err=True)
    for sentence in study.failed:
        typer.echo(f"hotbunk: error: {sentence}", err=True)
    if interrupted:
        typer.echo("interrupted: what was measured is kept; the same command with --resume goes on", err=True)
        raise typer.Exit(INTERRUPTED)
    if study.failed:
        raise typer.Exit(1)


def make_report(folders: Sequence[Path], out: Path) -> None:
    """Bring folders of results together, and make the report.

    Raises:
        ConfigError: there are no results, they come from several machines or from different models of one name, or they
            cannot be written.
    """
    from hotbunk.study.environment import enter, same_machine, same_models
    from hotbunk.study.results import TABLES, Results

    for folder in folders:
        if not any((folder / f"{table}.jsonl").exists() for table in TABLES):
            raise ConfigError(f"{folder}: there are no results in it; make some with hotbunk study all")
    # all of them are read and compared before anything is written
    more = [Results(folder) for folder in folders if folder.resolve() != out.resolve()]
    given = [*more, *([Results(out)] if out.exists() else [])]
    for one, other in combinations(given, 2):
        same_machine(one, other)
        same_models(one, other)
    results = Results(out)
    for each in more:
        for row in each.rows("models"):
            enter(results, row)
        for table in TABLES:
            known = results.rows(table)
            results.add(table, [row for row in each.rows(table) if table != "models" and row not in known])
    _finish(results)


def _interrupted(study: Study, order: Order) -> bool:
    from hotbunk.study.pace import Clock

    clock, tasks = Clock(order.seconds), study.tasks(order.experiments)
    for line in study.plan(tasks, clock) if order.seconds else ():
        typer.echo(line, err=True)
    try:
        study.run(tasks, clock)
    except KeyboardInterrupt:
        return True
    return False


def _finish(results: Results) -> None:
    from hotbunk.study.report import write

    page, summary, *_ = write(results)
    typer.echo(f"report: {page}\nsummary: {summary}")


def _subjects(paths: Sequence[Path]) -> tuple[dict[str, Subject], list[str]]:
    """The models by name, and a sentence for each that cannot be used."""
    if not paths:
        return {}, []
    from hotbunk.cli.files import named
    from hotbunk.llama.gguf import find
    from hotbunk.study.stage import Subject

    found: dict[str, Subject] = {}
    unusable = []
    for name, path in named(find(paths)).items():
        try:
            found[name] = Subject.of(path, name)
        except UnusableModel as error:
            unusable.append(str(error))
    if not found:
        raise UnusableModel("; ".join(unusable))
    return found, unusable


def _pairs(given: Sequence[str], names: Sequence[str]) -> list[Pair]:
    """Those asked for; else each model for the next, the last for the first, and one alone for a copy of itself."""
    from hotbunk.study.preemption import Pair

    if [*given] == ["none"]:
        return []
    parts = [each.split(",") for each in given] or [
        list(pair) for pair in zip(names, [*names[1:], names[0]], strict=True)
    ]
    pairs = []
    for part in parts:
        if len(part) != 2 or not {*part} <= {*names}:
            raise ConfigError(f"--pair {','.join(part)}: name two of the models, like A,B; they are {', '.join(names)}")
        model, other = part
        copy = next(name for n in count(2) if (name := f"{model}-{n}") not in names)
        pairs.append(Pair(model, other if other != model else copy))
    return pairs


def _extent(order: Order) -> Extent:
    from hotbunk.study.course import QUICK, Extent

    wanted = QUICK if order.quick else Extent()
    given = ("lengths", "points", "run", "counts", "contexts", "repeats")
    return replace(wanted, **{name: value for name in given if (value := getattr(order, name))})


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Say what is being done: in one line that changes, or line by line where that cannot be shown."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: typer.echo(line, err=True)
        return
    with console.status("starting") as status:
        yield lambda line: status.update(escape(line))
