"""``hotbunk bench replay``: a trace's requests, sent to a server at their times, and what became of them."""

from __future__ import annotations

import asyncio
import json
import resource
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hotbunk.cli.figures import Files
from hotbunk.cli.quantities import duration
from hotbunk.cli.trace.given import given
from hotbunk.errors import INTERRUPTED, ConfigError
from hotbunk.extras import needs

if TYPE_CHECKING:  # NumPy and httpx, which --help can do without
    from hotbunk.outcomes.slo import Slos
    from hotbunk.replay.prompts import Prompts
    from hotbunk.replay.replay import Replay, Replayed
    from hotbunk.traces import Trace

__all__ = ["replay"]

LATE = 0.05
"""Seconds by which a request may be sent too late before it is told."""
_IDS = 1 << 31
"""Token ids that there can be; vocabularies number them in 32 bits."""


def replay(
    traces: Annotated[list[Path], typer.Argument(help="Files, taken together as one trace.", show_default=False)],
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8080",
    speed: Annotated[float, typer.Option(help="So many times as fast.")] = 1.0,
    until: Annotated[
        str | None, typer.Option(help="Only what arrives before that, like 5m.", show_default="all")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="TRACE_MODEL=SERVER_MODEL", help="Other name of a model; may be repeated."),
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL:]LIMITS", help="May be repeated.", show_default="ttft=2s,tpot=100ms"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same prompts.")] = 0,
    tokens: Annotated[str, typer.Option(metavar="LOW-HIGH", help="Ids that prompts are made of.")] = "1000-20000",
    name: Annotated[str | None, typer.Option(help="The run's.", show_default="the server's policy")] = None,
    api_key: Annotated[str | None, typer.Option(help="Sent as a bearer's token.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write a row for each request to this file, OUT.parquet.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page with plots to this file (HTML).")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Where the page's timeline begins, like 5m.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where it ends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are no request.")] = False,
) -> None:
    """Send a trace to a server that speaks the OpenAI API, each request at its time, and measure what comes back.

    Prompts are random tokens, of the lengths that the trace says; what follows an answer is sent after it. 429 and 503
    count as refused. A hotbunk server is also asked how its models came and went. Ctrl-C tells what has come so far.
    """
    needs("httpx")
    # here and not above: they bring NumPy and httpx with them, which --help can do without
    from hotbunk.outcomes.slo import Slos

    files = Files(parquet, csv, page, duration("--from", begin), duration("--to", end))
    files.check(runs=1)
    trace = _renamed(given(traces, skip_bad, speed, until), names or [])
    slos = Slos.read(slo or [], trace.models)
    prompts = _prompts(seed, tokens)
    _raise_limit()
    made = asyncio.run(_replay(trace, url, api_key, prompts, name))
    words = (word.replace(api_key, "...") if api_key else word for word in sys.argv[1:])
    about = [("command", f"hotbunk {shlex.join(words)}"), ("trace", trace.name), ("server", url)]
    typer.echo(json.dumps(_rows(made, slos), indent=2) if as_json else _told(made, slos, about))
    files.write([made.run], slos, about, f"{trace.name}, replayed")
    if not made.whole:
        raise typer.Exit(INTERRUPTED)


async def _replay(trace: Trace, url: str, key: str | None, prompts: Prompts, name: str | None) -> Replayed:
    from hotbunk.replay.client import Endpoint
    from hotbunk.replay.replay import Replay, check

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    async with Endpoint(url, key) as endpoint:
        await check(trace, endpoint)
        replay = Replay(trace, endpoint, prompts, name)
        telling = asyncio.create_task(_tell(replay, len(trace)))
        try:
            return await replay.run(stop)
        finally:
            telling.cancel()


async def _tell(replay: Replay, requests: int) -> None:
    """How far it has come, once a second."""
    from hotbunk.outcomes import Fate

    with Console(stderr=True).status("starting") as status:
        while True:
            fates = replay.outcomes.fate
            ended, done = int((fates != Fate.OPEN).sum()), int((fates == Fate.DONE).sum())
            status.update(f"{requests:,} requests: {replay.sent:,} sent, {ended:,} ended, of them {done:,} done")
            await asyncio.sleep(1)


def _told(made: Replayed, slos: Slos, about: list[tuple[str, str]]) -> str:
    from hotbunk.outcomes.metrics import summarise
    from hotbunk.outcomes.table import tables
    from hotbunk.report.page import Block, Page, Section, Text
    from hotbunk.report.render import text

    notes = [Text(sentence) for sentence in _notes(made)]
    blocks: list[Block] = [*tables([summarise(made.run, slos)], slos), *notes]
    return text(Page("hotbunk bench replay", "", "", [Section("figures", "Figures", "", blocks)], about)).strip()


def _notes(made: Replayed) -> list[str]:
    """What should be known of the figures, in sentences."""
    notes = [f"{reason} ({count:,}): {made.examples[reason]}" for reason, count in made.reasons.items()]
    notes.append(f"Requests were sent at most {1000 * made.lateness:.1f} ms too late.")
    if made.lateness > LATE:
        notes.append("This machine could not keep up; its times are too long. Send fewer at once, or from another one.")
    if made.words:
        notes.append(f"Prompts were words, so their lengths are not exact; of tokens the server said: {made.words}")
    if not made.whole:
        notes.append("It was broken off: whatever was under way counts as open.")
    return notes


def _rows(made: Replayed, slos: Slos) -> dict[str, Any]:
    from dataclasses import asdict

    from hotbunk.outcomes.metrics import summarise
    from hotbunk.outcomes.table import as_rows

    reasons = [{"reason": r, "count": count, "example": made.examples[r]} for r, count in made.reasons.items()]
    how = {"reasons": reasons, "lateness": made.lateness, "words": made.words, "whole": made.whole}
    return {**as_rows(summarise(made.run, slos)), "slo": asdict(slos), **how}


def _renamed(trace: Trace, names: list[str]) -> Trace:
    """With the server's names; those of which nothing is asked are left out."""
    pairs = dict.fromkeys(trace.models, "")
    for text in names:
        old, _, new = text.partition("=")
        if not new or old not in pairs:
            asked = ", ".join(trace.models)
            raise ConfigError(f"--map {text}: write TRACE_MODEL=SERVER_MODEL; the trace's models are {asked}")
        if pairs[old]:
            raise ConfigError(f"--map {text}: {old} is {pairs[old]} already; say it once")
        pairs[old] = new
    return trace.renamed({old: new for old, new in pairs.items() if new})


def _prompts(seed: int, tokens: str) -> Prompts:
    from hotbunk.replay.prompts import Prompts

    low, _, high = tokens.partition("-")
    if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high) < _IDS):
        raise ConfigError(f"--tokens {tokens}: not a range of token ids, below {_IDS:,}; write it like 1000-20000")
    return Prompts(seed, int(low), int(high))


def _raise_limit() -> None:
    """Every stream takes a file descriptor, and many systems allow few unless asked for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
