"""Point 8: preempted answers are the same answers; and what a batch of several sequences does to one of them."""

from __future__ import annotations

from report import Run

from hotbunk.measure.wire import GREEDY, Wire, prompt, worker
from hotbunk.placement import Placement
from hotbunk.sampling import Sampling
from hotbunk.worker.protocol import Load, Open, Opened, Resize, Resume, Suspend, Token, Unload

SLOTS = 8
CONTEXT = 1024
PROMPT = prompt(600, seed=5)
SEEDED = Sampling(seed=7, temperature=1.0, repeat_penalty=1.1)


def preempted(run: Run) -> None:
    """Greedy and seeded answers, whole and interrupted, at full and at partial residency."""
    run.report.title("8. an interrupted answer is the same answer: tokens and log-probabilities")
    with worker(run.device, run.threads) as wire:
        for name in ("8b", "3b", "8b-q4"):
            wire.ask(Open(name, str(run.files[name])), Opened)
        other = wire.predict("3b", CONTEXT, 1, run.layers)
        for name in ("8b", "8b-q4"):
            for layers, count in [*_plan(run), *([(0, 15)] if name == "8b-q4" else [])]:
                place = wire.predict(name, CONTEXT, 1, layers)
                for how, sampling in (("greedy", GREEDY), ("seeded", SEEDED)):
                    label = f"{name}, {layers} of {run.layers} layers, {how}, {count} tokens"
                    _compare(run, wire, label, name, place, other, count, sampling)


def _compare(
    run: Run, wire: Wire, label: str, name: str, place: Placement, other: Placement, count: int, sampling: Sampling
) -> None:
    wire.move(Load(name, place))
    whole = _finish(wire, wire.start(name, PROMPT, count, sampling, logprobs=0))
    parts = wire.start(name, PROMPT, count, sampling, logprobs=0)
    for _ in range(3):
        wire.tokens(parts, count // 5)
        wire.move(Suspend(parts), Unload(name), Load("3b", other))
        _finish(wire, wire.start("3b", PROMPT[:20], 4))
        wire.move(Unload("3b"), Load(name, place), Resume(parts))
    broken = _finish(wire, parts)
    run.report.row(f"{label}, preempted 3 x", _difference(whole, broken), "equal", whole == broken)
    if place.layers == run.layers and sampling is GREEDY:
        _shrunk(run, wire, label, name, place)
    wire.move(Unload(name))


def _shrunk(run: Run, wire: Wire, label: str, name: str, place: Placement) -> None:
    """Facts, not promises: fewer layers on the device may round differently, and a context may be kept or not."""
    less = wire.predict(name, CONTEXT, 1, run.split(31), cached=place.layers)
    made = wire.predict(name, CONTEXT, 1, run.split(31))
    count = 48
    whole = _finish(wire, wire.start(name, PROMPT, count, logprobs=0))
    for how, smaller in (("context kept", less), ("context made anew", made)):
        parts = wire.start(name, PROMPT, count, logprobs=0)
        wire.tokens(parts, count // 3)
        wire.move(Resize(name, smaller))
        wire.tokens(parts, count // 3)
        wire.move(Resize(name, place))
        run.report.row(f"{label}: 6 layers given up and taken back, {how}", _difference(whole, _finish(wire, parts)))


def batches(run: Run) -> None:
    """Facts for docs/exactness.md: one greedy answer alone, and beside neighbours that it is decoded with."""
    run.report.title("8b. one greedy answer alone against the same beside others in its batch: first difference")
    with worker(run.device, run.threads) as wire:
        for name in ("8b", "8b-q4"):
            wire.ask(Open(name, str(run.files[name])), Opened)
            for layers, count in _plan(run):
                wire.move(Load(name, wire.predict(name, CONTEXT, SLOTS, layers)))
                alone = _beside(wire, name, count, 0)
                label = f"{name}, {layers} of {run.layers} layers"
                run.report.row(f"{label}: alone again", _difference(alone, _beside(wire, name, count, 0)))
                for neighbours in (1, 2, 3, 4, 7):
                    found = _difference(alone, _beside(wire, name, count, neighbours))
                    run.report.row(f"{label}: beside {neighbours}", found)
                run.report.row(f"{label}: they come and go", _difference(alone, _come_and_go(wire, name, count)))
                wire.move(Unload(name))


def _plan(run: Run) -> list[tuple[int, int]]:
    """Layers, and tokens to generate there: few where the CPU has to help."""
    return [(run.layers, 96), (run.split(30), 32)]


def _beside(wire: Wire, name: str, count: int, neighbours: int) -> list[Token]:
    others = [wire.start(name, prompt(50 + 10 * n, seed=n), CONTEXT) for n in range(neighbours)]
    for other in others:
        wire.tokens(other, 1)  # its prompt is done
    found = _finish(wire, wire.start(name, PROMPT, count, logprobs=0))
    for other in others:
        wire.cancel(other)
    return found


def _come_and_go(wire: Wire, name: str, count: int) -> list[Token]:
    ours = wire.start(name, PROMPT, count, logprobs=0)
    for turn in range(4):
        wire.tokens(ours, count // 8)
        other = wire.start(name, prompt(40, seed=turn), CONTEXT)
        wire.tokens(ours, count // 8)
        wire.cancel(other)
    return _finish(wire, ours)


def _finish(wire: Wire, sequence: int) -> list[Token]:
    """All tokens of a sequence, from its first on, under one number so that they can be compared."""
    wire.finish(sequence)
    return [_nobodys(token) for token in wire.produced[sequence]]


def _nobodys(token: Token) -> Token:
    """The token as if it were sequence 0's."""
    return Token(0, token.token, token.logprob, token.top)


def _difference(one: list[Token], other: list[Token]) -> str:
    """Where two answers first differ."""
    if one == other:
        return "equal"
    pairs = list(zip(one, other, strict=False))
    tokens = next((n for n, (a, b) in enumerate(pairs) if a.token != b.token), None)
    values = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    said = "tokens equal" if tokens is None and len(one) == len(other) else f"token {tokens}"
    return f"{said}, log-prob. {values}"
