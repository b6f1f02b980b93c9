"""``hotbunk study offload | preemption | concurrency | context | bus | all | report``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hotbunk.cli.quantities import duration
from hotbunk.cli.study.order import Order, carry_out, make_report
from hotbunk.errors import ConfigError
from hotbunk.placement import MOST_SLOTS

__all__ = ["commands"]

Models = Annotated[list[Path], typer.Argument(help="GGUF files, or folders to search.", show_default=False)]
Device = Annotated[str, typer.Option(help="The worker's device: auto, cpu, CUDA0, rpc:HOST:PORT.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="physical cores less one")]
Out = Annotated[Path, typer.Option(help="Folder for results, report.html and summary.txt.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer lengths, residencies and repeats.")]
Repeats = Annotated[
    int | None, typer.Option(min=1, help="How often all is measured.", show_default="3, with --quick 2")
]
Budget = Annotated[
    str | None, typer.Option("--time-budget", help="Like 8m or 90s.", show_default="as long as it takes")
]
Lengths = Annotated[
    str | None, typer.Option(help="Output lengths in tokens, like 50,150,300.", show_default="the study's")
]
Points = Annotated[
    str | None, typer.Option(help="Tokens behind A when it is interrupted, like 100,1000.", show_default="the study's")
]
Run = Annotated[int | None, typer.Option(min=2, help="Tokens of B's answer.", show_default="500, with --quick 100")]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        help="A,B by name: A makes way for B; may be repeated. Or none.",
        show_default="each model for the next",
    ),
]
Counts = Annotated[str | None, typer.Option(help="Numbers of sequences, like 1,8,32.", show_default="1 to 32")]
Contexts = Annotated[str | None, typer.Option(help="Lengths of sequences in tokens.", show_default="256 to 32768")]

OUT = Path("hotbunk-study")


def offload(
    models: Models,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
    time_budget: Budget = None,
    lengths: Lengths = None,
) -> None:
    """Measure decode speed against residency, and say why it falls as it does."""
    order = _order(["offload"], models, device, threads, out, resume, quick, repeats, time_budget)
    carry_out(replace(order, lengths=_numbers("--lengths", lengths, 2)))


def preemption(
    models: Models,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
    time_budget: Budget = None,
    pair: Pairs = None,
    points: Points = None,
    run: Run = None,
) -> None:
    """Interrupt a model for another one, with moving weights and with ordinary loads, and time each step."""
    order = _order(["preemption"], models, device, threads, out, resume, quick, repeats, time_budget)
    carry_out(replace(order, pairs=tuple(pair or ()), points=_numbers("--points", points), run=run))


def concurrency(
    models: Models,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
    time_budget: Budget = None,
    counts: Counts = None,
) -> None:
    """Measure decode steps of several sequences at once, at several residencies."""
    order = _order(["concurrency"], models, device, threads, out, resume, quick, repeats, time_budget)
    carry_out(replace(order, counts=_numbers("--counts", counts, 1, MOST_SLOTS)))


def context(
    models: Models,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
    time_budget: Budget = None,
    contexts: Contexts = None,
) -> None:
    """Measure decode steps and moves of the KV cache against the length of the sequence."""
    order = _order(["context"], models, device, threads, out, resume, quick, repeats, time_budget)
    carry_out(replace(order, contexts=_numbers("--contexts", contexts, 64)))


def bus(
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
) -> None:
    """Measure how fast bytes cross between host memory and the device."""
    carry_out(_order(["bus"], [], device, threads, out, resume, quick, repeats, None))


def everything(
    models: Models,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = OUT,
    resume: Resume = False,
    quick: Quick = False,
    repeats: Repeats = None,
    time_budget: Budget = None,
    lengths: Lengths = None,
    pair: Pairs = None,
    points: Points = None,
    run: Run = None,
    counts: Counts = None,
    contexts: Contexts = None,
) -> None:
    """Make all experiments. A time budget is divided among them, and what there was no time for is said."""
    kinds = ["bus", "offload", "concurrency", "context", "preemption"]
    order = _order(kinds, models, device, threads, out, resume, quick, repeats, time_budget)
    order = replace(order, lengths=_numbers("--lengths", lengths, 2), points=_numbers("--points", points), run=run)
    order = replace(order, counts=_numbers("--counts", counts, 1, MOST_SLOTS))
    carry_out(replace(order, contexts=_numbers("--contexts", contexts, 64), pairs=tuple(pair or ())))


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results of one machine.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Where to bring them together.", show_default="the first")] = None,
) -> None:
    """Make report.html, summary.txt and the tables anew, from one folder or from several together."""
    make_report(folders, out or folders[0])


commands: dict[str, Callable[..., None]] = {
    "offload": offload,
    "preemption": preemption,
    "concurrency": concurrency,
    "context": context,
    "bus": bus,
    "all": everything,
    "report": report,
}
"""By the names they have on the command line."""


def _order(
    experiments: list[str],
    models: list[Path],
    device: str,
    threads: int | None,
    out: Path,
    resume: bool,
    quick: bool,
    repeats: int | None,
    budget: str | None,
) -> Order:
    seconds = duration("--time-budget", budget)
    return Order(tuple(experiments), tuple(models), device, threads, out, resume, quick, repeats, seconds)


def _numbers(option: str, text: str | None, least: int = 1, most: int | None = None) -> tuple[int, ...]:
    """Numbers in ascending order, each once; none if the option was not given."""
    if text is None:
        return ()
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"{option} {text}: not a list of numbers; write it like 50,150,300") from error
    if found[0] < least:
        raise ConfigError(f"{option} {text}: {found[0]} is too small; give numbers from {least} on")
    if most and found[-1] > most:
        raise ConfigError(f"{option} {text}: {found[-1]} is too large; give numbers up to {most}")
    return tuple(found)
