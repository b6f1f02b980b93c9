"""What ``hotbunk plan`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hotbunk.cli.plan.outlook import Crossover, Outlook
from hotbunk.costs.crossover import Outcome
from hotbunk.costs.linear import Estimate
from hotbunk.costs.plan import Rung, Together
from hotbunk.placement import Placement
from hotbunk.units import brief_size

__all__ = ["show"]

WAYS = {"wait": "waiting", "switch": "a switch", "split": "a split"}
"""Each way as a sentence has it."""
CAPTION = "±: where nine in ten measurements lie (x: between so many times less and more)"
GUESSED = "~: never measured here, a first guess from the machine's roofline; hotbunk profile makes it sure"
_COLOURS = {"wait": "yellow", "switch": "cyan", "split": "green"}


def show(outlook: Outlook, console: Console) -> None:
    """Print all of it, wide enough for its tables."""
    decided = [_crossover(each) for each in outlook.crossovers if not each.together]
    tables = [_placements(outlook), *_combinations(outlook), *decided]
    wide = console.options.update(width=1000)
    console.width = max([console.width, *(console.measure(table, options=wide).maximum for table in tables)])
    for table in tables:
        console.print(table, "")
    for crossover in outlook.crossovers:
        for line in sentences(crossover):
            console.print(line, highlight=False, markup=False)
    for note in outlook.survey.notes:
        console.print(note, highlight=False, markup=False)


def sentences(crossover: Crossover) -> Iterator[str]:
    """Where the crossovers lie, in words."""
    when = f"While {crossover.running} runs and a request for {crossover.coming} comes:"
    if crossover.together:
        yield f"{when} both stand together, each at its best, and no switch is needed."
        return
    yield when
    for left, found in crossover.segments.items():
        (_, first), *others = found
        changes = [f"from {begin:,} output tokens on {WAYS[way]} is better" for begin, way in others]
        words = [f"{WAYS[first]} is best{'' if others else ', whatever the length'}", *changes]
        yield f"  with {left:,} tokens left to {crossover.running}: {'; '.join(words)}."


def _placements(outlook: Outlook) -> Table:
    survey = outlook.survey
    table = _table(
        "model",
        "layers",
        "device",
        "host",
        "tok/s",
        "all slots",
        "TTFT",
        "loaded first",
        "load",
        "unload",
        title=f"{escape(survey.device)}, {brief_size(survey.budget)}; prompts of {survey.prompt:,} tokens",
    )
    for candidate in survey.candidates:
        found = outlook.rungs[candidate.name]
        for rung in found:
            name = escape(candidate.name) + ("" if candidate.measured else " ~")
            table.add_row(name if rung is found[0] else "", *_cells(rung))
        table.add_section()
    table.caption = CAPTION if all(candidate.measured for candidate in survey.candidates) else f"{CAPTION}\n{GUESSED}"
    return table


def _cells(rung: Rung) -> tuple[str, ...]:
    place = rung.placement
    return (
        _layers(place),
        brief_size(rung.device),
        brief_size(place.host.total),
        f"{_rate(rung.speed)} {_spread(rung.decode)}",
        _rate(rung.throughput),
        *map(_seconds, (rung.prefill, rung.arrival, rung.load, rung.unload)),
    )


def _combinations(outlook: Outlook) -> Iterator[Table]:
    if len(outlook.rungs) < 2:
        return
    table = _table("models", "together", "device", "speed kept", title="what fits together")
    for names, found in outlook.sets:
        table.add_row(escape(" + ".join(names)), *_together(found))
    yield table
    slots = next(iter(outlook.rungs.values()))[0].placement.slots
    title = f"switches, with {slots} sequences of {outlook.survey.prompt:,} tokens on each side"
    table = _table("switch", "KV out", "unload", "load", "KV in", "total", title=title)
    for switch in outlook.switches:
        steps = (switch.out, switch.unload, switch.load, switch.back, switch.total)
        table.add_row(escape(f"{switch.leaves} → {switch.comes}"), *map(_seconds, steps))
    yield table


def _together(found: Together | None) -> tuple[str, ...]:
    if found is None:
        return "[red]no[/red]", "", ""
    places = " + ".join(_layers(rung.placement) for _, rung in found.rungs)
    return f"{places} layers", brief_size(found.device), f"{found.kept:.0%}"


def _crossover(crossover: Crossover) -> Table:
    running, coming = escape(crossover.running), escape(crossover.coming)
    heads = (f"{left:,} left" for left in crossover.lengths)
    table = _table(f"tokens for {coming}", *heads, title=f"{running} runs, a request for {coming} comes")
    table.caption = f"what is best, seconds until {coming}'s end, and in brackets what both requests lose"
    for output in crossover.lengths:
        cells = (_cell(crossover.best(left, output)) for left in crossover.lengths)
        table.add_row(f"{output:,}", *cells)
    return table


def _cell(outcome: Outcome) -> str:
    colour = _COLOURS[outcome.way]
    return f"[{colour}]{outcome.way}[/{colour}] {_brief(outcome.end)} ({_brief(max(outcome.delay, 0.0))})"


def _table(first: str, *others: str, title: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.caption_justify = "left"
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def _layers(place: Placement) -> str:
    """Layers on the device, and of how many blocks the experts if not of all."""
    experts = "" if place.experts in (None, max(place.layers - 1, 0)) else f", experts of {place.experts}"
    return f"{place.layers}{experts}"


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed > 99.5 else f"{speed:.3g}"


def _seconds(estimate: Estimate) -> str:
    return f"{_brief(estimate.seconds)} {_spread(estimate)}"


def _spread(estimate: Estimate) -> str:
    """Half the width of the interval; as a factor where it is wider than the estimate itself."""
    half = (estimate.high - estimate.low) / 2 / estimate.seconds
    return f"±{half:.0%}" if half < 0.995 else f"±{sqrt(estimate.high / estimate.low):.2g}x"


def _brief(seconds: float) -> str:
    """Three figures, in a unit that suits."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"
