"""``hotbunk simulate``: what would have become of a trace's requests, under one policy or another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hotbunk.cli.figures import Files
from hotbunk.cli.quantities import duration
from hotbunk.cli.trace.given import given
from hotbunk.errors import ConfigError
from hotbunk.units import brief_size

if TYPE_CHECKING:  # NumPy and SciPy, which --help can do without
    from hotbunk.outcomes import Run
    from hotbunk.outcomes.slo import Slos
    from hotbunk.simulator.contest import Setting
    from hotbunk.simulator.profile import Profile

__all__ = ["simulate"]

_SHARE = 0.92  # of the device's memory that is taken for the budget


def simulate(
    traces: Annotated[list[Path], typer.Argument(help="Files, taken together as one trace.", show_default=False)],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "--models", help="NAME=SHAPE[:TYPE], or NAME=FILE.gguf: what a name in the trace stands for."
        ),
    ] = None,
    device_profile: Annotated[str, typer.Option(help="A shipped profile, a file, or store[:DEVICE].")] = "h100",
    policy: Annotated[str, typer.Option(help="Policies, like priced,ollama+fast; or all.")] = "priced",
    budget: Annotated[str | None, typer.Option(help="Device memory.", show_default="92 % of the profile's")] = None,
    host_memory: Annotated[
        str | None, typer.Option(help="Memory of the host store.", show_default="half of the profile's")
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="Context of a slot, in tokens.")] = 8192,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Sequences at a time for each model.")] = 4,
    quantum: Annotated[str, typer.Option(help="How long a turn lasts while others wait.")] = "2s",
    max_wait: Annotated[str, typer.Option(help="The bound on waiting.")] = "120s",
    max_queue: Annotated[int, typer.Option(min=1, help="Most requests that may wait.")] = 512,
    together: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="MODEL,MODEL", help="Models that llama-swap may have loaded together."),
    ] = None,
    slo: Annotated[list[str] | None, typer.Option(help="Like ttft=2s,tpot=100ms, or MODEL:ttft=30s.")] = None,
    speed: Annotated[float, typer.Option(help="So many times as fast.")] = 1.0,
    until: Annotated[str | None, typer.Option(help="What arrives before that, like 10m.", show_default="all")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that are no request.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Where profiles are kept.", show_default="~/.local/share/hotbunk/costs.sqlite")
    ] = None,
    explain: Annotated[
        int | None, typer.Option(min=0, help="Tell all decisions on this request, by its row.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write each request to a file a policy in this folder.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page with timelines to this file (HTML).")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Where the timelines begin.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where they end.")] = None,
) -> None:
    """Serve a trace in simulation: the live server's scheduler, with a clock and a device made of measured costs.

    The same seed of the trace and the same options give the same figures. Policies are hotbunk's own and the baselines;
    each baseline pays a process restart for a switch, as it really does, unless its name ends in +fast.
    """
    # here and not above: they bring NumPy, SciPy and libllama with them, which --help can do without
    from hotbunk.cli.simulate.explain import Listener
    from hotbunk.cli.simulate.subjects import anatomies, profile, sets
    from hotbunk.config import load
    from hotbunk.costs.rates import Promise
    from hotbunk.outcomes.slo import Slos
    from hotbunk.scheduler import Bound
    from hotbunk.simulator.contest import Setting, contenders

    files = Files(parquet, csv, page, duration("--from", begin), duration("--to", end))
    names = contenders() if policy == "all" else list(dict.fromkeys(name.strip() for name in policy.split(",")))
    files.check(runs=len(names))
    # what serve would refuse, in the same words
    limits = load(None, {"quantum": quantum, "max_wait": max_wait, "budget": budget, "host_memory": host_memory})
    trace = given(traces, skip_bad, speed, until)
    slos = Slos.read(slo or [], trace.models)
    machine = profile(device_profile, store)
    setting = Setting(
        machine,
        anatomies(trace.models, model or [], machine),
        limits.budget or _budget(machine),
        context,
        slots,
        (machine.host / 2 or float("inf")) if limits.host_memory is None else limits.host_memory,
        Bound(limits.max_wait, max_queue),
        limits.quantum,
        {name: Promise(slos.of(name).ttft, slos.of(name).tpot) for name in trace.models},
        sets=sets(trace.models, together or []),
    )
    listener = Listener(trace, explain)
    for name in names:
        setting.case(name, trace)  # what is wrong with one is told before any has run
    runs = []
    with Console(stderr=True).status("simulating") as status:
        for name in names:
            status.update(f"simulating {name}: {len(trace)} requests")
            runs.append(setting.run(name, trace, listener.hear))
            for line in listener.told(runs[-1]):
                typer.echo(line, err=as_json)
    _show(runs, slos, setting, as_json)
    files.write(runs, slos, _about(setting), "Requests served in simulation")


def _show(runs: list[Run], slos: Slos, setting: Setting, as_json: bool) -> None:
    from hotbunk.outcomes.metrics import summarise
    from hotbunk.outcomes.table import as_rows, tables
    from hotbunk.report.page import Page, Section
    from hotbunk.report.render import text

    summaries = [summarise(run, slos) for run in runs]
    if as_json:
        rows = {"about": dict(_about(setting)), "runs": [as_rows(each) for each in summaries]}
        typer.echo(json.dumps(rows, indent=2))
        return
    sections = [Section("figures", "Figures", "", tables(summaries, slos))]
    typer.echo(text(Page("hotbunk simulate", "", "", sections, _about(setting))).strip())


def _about(setting: Setting) -> list[tuple[str, str]]:
    machine = setting.profile
    kind = "" if machine.measured else " (constructed)"
    sets = "; ".join(" + ".join(sorted(each)) for each in setting.sets)
    memory = "all" if setting.host == float("inf") else brief_size(int(setting.host))
    return [
        ("device", f"{machine.name}{kind}: {machine.note}"),
        ("budget", f"{brief_size(setting.budget)}; host store {memory}"),
        ("slots", f"{setting.slots} of {setting.context} tokens for each model"),
        ("models", ", ".join(f"{name} {brief_size(each.weights)}" for name, each in setting.models.items())),
        *([("sets", f"llama-swap's: {sets}")] if sets else []),
    ]


def _budget(machine: Profile) -> int:
    if not machine.memory:
        raise ConfigError("--budget: the profile does not tell how much memory the device has; give a size, like 24GiB")
    return int(machine.memory * _SHARE)
