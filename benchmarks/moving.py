"""Points 1, 2, 4 and 7: what moves cost beside the bus, and that they cost the same after five hundred of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import sleep

from report import Run

from hotbunk.cli.bench.swap import Outcome, measure
from hotbunk.measure.steps import Limits, Step, Swap
from hotbunk.measure.swaps import Swaps
from hotbunk.measure.wire import Wire, above_store, worker
from hotbunk.placement import Placement
from hotbunk.worker.protocol import Load, Loaded, Unload

CONTEXT = 8192
GB = 1e9
QUIET = 0.05
"""Seconds after which the driver has cleared what was freed, which keeps the memory busy; a bus idle for longer has to
wake up first."""
_ANY = dict.fromkeys(("h2d_pinned", "d2h_pinned", "h2d_pageable", "d2h_pageable"), 1.0)  # the soak asks for no limits


def moves(run: Run) -> None:
    """Points 1, 2 and 4, from one ``bench swap``."""
    models = {name: run.files[name] for name in ("8b", "3b")}
    shares = [1.0, run.split(30) / run.layers, run.split(20) / run.layers]
    found = measure(models, run.device, CONTEXT, 1, run.threads, 3, shares, [0, run.tokens // 6, run.tokens])
    for bus in found.bus:
        speeds = ", ".join(f"{key} {(value or 0) / GB:.1f}" for key, value in bus.items() if key != "size")
        run.report.say(f"bus, copies of {int(bus['size'] or 0) >> 20} MiB, GB/s: {speeds}")
    if found.trouble:
        run.report.say(f"not from pinned memory: {found.trouble}")
    _promotions(run, found)
    _preemptions(run, found)
    _resizes(run, found)
    _memory(run, found)
    run.report.title("all moves, step by step: ms (limit; GB)")
    for each in found.swaps:
        _spell_out(run, each)


def _promotions(run: Run, found: Outcome) -> None:
    run.report.title("1. promotion, synchronised, against the bus's measured bandwidth")
    limit = found.bus[0]["h2d_pinned"] or found.bus[0]["h2d_pageable"] or 0
    for name, aim in (("8b", 0.90), ("3b", 0.85)):
        size, seconds = _quiet(run, name)
        share = size / seconds / limit
        measured = f"{size / seconds / GB:.1f} GB/s of {limit / GB:.1f}: {share:.0%}"
        run.speed(f"{name}, {size / GB:.2f} GB in {seconds:.3f} s", measured, f">= {aim:.0%}", share >= aim)
        step = _step(found, name, f"promote {name}")
        share = step.size / step.seconds / limit
        run.report.row(f"  at once after the other's {step.seconds:.3f} s", f"{share:.0%}", "(memory just freed)")


def _quiet(run: Run, name: str) -> tuple[int, float]:
    """Bytes and median seconds of promoting all layers while nothing else is going on."""
    moved, times = 0, []
    with worker(run.device, run.threads) as wire:
        swaps = Swaps(wire, Limits(_ANY), {name: str(run.files[name])}, CONTEXT, 1, 1)
        place = swaps.place(name, 1.0)
        if run.judged:
            swaps.stored(lambda _: None)
        for _ in range(6):
            sleep(QUIET)
            _, (loaded, *_) = wire.move(Load(name, place))
            assert isinstance(loaded, Loaded)
            moved, seconds = loaded.moved, loaded.steps["promote"]
            times.append(seconds)
            wire.move(Unload(name))
    return moved, median(times[1:])


def _preemptions(run: Run, found: Outcome) -> None:
    run.report.title("2. whole preemption and resumption of the 8b, against the sum of its bytes' limits")
    for each in found.swaps:
        if each.move == "preempt" and not each.other:
            wanted = each.tokens == run.tokens and each.layers == run.layers
            measured = f"{each.seconds:.3f} s, {each.ratio or 0:.2f} x limit"
            name = f"{each.tokens} tokens, {each.layers} layers"
            if wanted:
                run.speed(name, measured, "<= 1.20 x limit", (each.ratio or 9) <= 1.2)
            else:
                run.report.row(name, measured)


def _resizes(run: Run, found: Outcome) -> None:
    run.report.title("4. giving up 6 layers and taking them back")
    whole = next(each for each in found.swaps if each.move == "preempt" and not each.other and not each.tokens)
    weights = sum(step.size for step in whole.steps)
    down = [each for each in found.swaps if each.move.startswith("give up")]
    up = [each for each in found.swaps if each.move.startswith("take back")]
    for give, take in zip(down, up, strict=True):
        share = sum(step.size for step in take.steps if step.name.startswith("promote")) / weights
        seconds, fair = give.seconds + take.seconds, share * whole.seconds
        name = f"{give.move}, {give.tokens} tokens of KV, {share:.1%} of the bytes"
        measured = f"{give.seconds * 1e3:.0f} + {take.seconds * 1e3:.0f} ms"
        aim = f"<= 1.5 x {fair * 1e3:.0f} ms"
        if "kept" in give.move:
            run.speed(name, measured, aim, seconds <= 1.5 * fair)
        else:
            run.report.row(name, measured)
    run.speed("RSS above the host store, at most", f"{found.excess / GB:.2f} GB", "<= 1 GB", found.excess <= GB)


def _memory(run: Run, found: Outcome) -> None:
    run.report.title("device memory: foretold, reported by libllama, gone from the driver's")
    for each in found.memory:
        off = each.reported / each.predicted - 1
        measured = f"{each.predicted / GB:.3f} {each.reported / GB:.3f} {each.driver / GB:.3f} GB"
        run.report.row(f"{each.model}, {each.layers} layers", measured, "within 3 %", abs(off) <= 0.03)


def _step(found: Outcome, model: str, name: str) -> Step:
    """The promotion of all layers of a model in a switch."""
    switch = next(each for each in found.swaps if each.move == "switch" and each.model == model)
    return next(step for step in switch.steps if step.name == name)


def _spell_out(run: Run, each: Swap) -> None:
    steps = ", ".join(_told(step) for step in each.steps if step.size or step.seconds >= 5e-5)
    run.report.say(f"{each.title}: {each.seconds * 1e3:.1f} ({each.limit * 1e3:.1f}) = {steps}")


def _told(step: Step) -> str:
    return f"{step.name} {step.seconds * 1e3:.1f}" + (
        f" ({step.limit * 1e3:.1f}; {step.size / GB:.2f})" if step.limit else ""
    )


# ---------------------------------------------------------------- the soak


@dataclass(frozen=True)
class Look:
    """How things stand with nothing loaded: bytes the driver has free (-1: untold), and resident above the store."""

    free: int
    excess: int


def soak(run: Run) -> None:
    """Point 7: switches among four models; what is left behind, and whether the last take longer than the first."""
    count = 500 if run.judged else 40
    run.report.title(f"7. {count} switches among four models")
    names = [name for name in run.files if name != "8b-q4"]
    with worker(run.device, run.threads) as wire:
        swaps = Swaps(wire, Limits(_ANY), {n: str(run.files[n]) for n in names}, CONTEXT, 1, 1)
        places = {name: swaps.place(name, 1.0) for name in names}
        if run.judged and (trouble := swaps.stored(lambda _: None)):
            run.report.say(f"not from pinned memory: {trouble}")
        _switch(wire, places, _order(names, 12, 0))
        looks = [_look(wire)]
        seconds: list[tuple[str, float]] = []
        for part in range(5):
            seconds += _switch(wire, places, _order(names, count // 5, part))
            looks.append(_look(wire))
    _judge(run, looks, seconds)


def _order(names: list[str], count: int, seed: int) -> list[str]:
    """So many names in random order, none twice in a row."""
    chosen, draw = [names[0]], random.Random(seed)
    while len(chosen) < count:
        chosen.append(draw.choice([name for name in names if name != chosen[-1]]))
    return chosen


def _switch(wire: Wire, places: dict[str, Placement], order: list[str]) -> list[tuple[str, float]]:
    """Load one after the other; afterwards nothing is loaded. Seconds of each switch, by the model that came."""
    wire.move(Load(order[0], places[order[0]]))
    times = []
    for last, name in pairwise(order):
        seconds, _ = wire.move(Unload(last), Load(name, places[name]))
        times.append((name, seconds))
    wire.move(Unload(order[-1]))
    return times


def _look(wire: Wire) -> Look:
    beat = wire.fresh()
    return Look(beat.free, above_store(beat))


def _judge(run: Run, looks: list[Look], seconds: list[tuple[str, float]]) -> None:
    few = len(seconds) // 10
    first, last = seconds[:few], seconds[-few:]
    for name in sorted({name for name, _ in first} & {name for name, _ in last}):
        early, late = (median(s for n, s in part if n == name) for part in (first, last))
        measured = f"{early * 1e3:.0f} ms, then {late * 1e3:.0f} ms"
        run.speed(f"to {name}: first {few} against last {few}", measured, "<= 1.1 x", late <= 1.1 * early)
    lost, grown = looks[0].free - looks[-1].free, looks[-1].excess - looks[0].excess
    if looks[0].free >= 0:
        run.report.row("device memory lost", f"{lost / 1e6:.1f} MB", "<= 16 MB", lost <= 16e6)
    run.report.row("RSS above the host store grown", f"{grown / 1e6:.1f} MB", "<= 64 MB", grown <= 64e6)
    run.report.say("free at each look, GB: " + ", ".join(f"{look.free / GB:.3f}" for look in looks))
    run.report.say(
        "RSS above the host store at each look, GB: " + ", ".join(f"{look.excess / GB:.3f}" for look in looks)
    )
