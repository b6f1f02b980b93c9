"""Runs beside each other: as tables for terminal and page, and as rows for JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

from hotbunk.outcomes.metrics import Figures, Spread, Summary
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.report.page import Table
from hotbunk.report.words import figure, percent, seconds
from hotbunk.units import brief_size

__all__ = ["TIMES", "as_rows", "device", "flat", "models", "promise", "service", "tables", "times", "validation"]

TIMES = {"ttft": "TTFT", "tpot": "TPOT", "latency": "latency", "wait": "wait for a slot"}
"""The times of a request by their names in ``Figures``, as they are shown."""
_FEW = 3  # runs whose models are told apart
_WHOLE = {
    "fairness": "fairness",
    "worst": "worst",
    "preemption_rate": "preemption_rate",
    "computing_share": "computing",
    "moving_share": "moving",
    "idle_share": "idle",
}  # what is worked out for a whole run only


def tables(summaries: Sequence[Summary], slos: Slos) -> list[Table]:
    """All there is to compare; the models apart only where there are several of them, and few runs."""
    apart = [models(each) for each in summaries if len(each.models) > 1 and len(summaries) <= _FEW]
    return [service(summaries, slos), times(summaries), device(summaries), *apart]


def service(summaries: Sequence[Summary], slos: Slos) -> Table:
    """How many were served, how well, and how fairly."""
    columns = ("run", "requests", "done", "refused", "failed", "open", "SLO met", "goodput", "done/s", "output tok/s")
    rows = [
        [
            each.name,
            *(f"{getattr(each.all, name):,}" for name in ("requests", "done", "refused", "failed", "open")),
            _share(each.all.attainment),
            *(_shown(value, figure) for value in (each.all.goodput, each.all.rate, each.all.output, each.all.prompt)),
            _share(each.worst),
            _shown(each.fairness, figure),
        ]
        for each in summaries
    ]
    caption = (
        f"{promise(slos)}. Goodput: requests per second that met it. Fairness: Jain's index of the models' shares."
    )
    return Table("Service", (*columns, "prompt tok/s", "worst model", "fairness"), rows, caption)


def times(summaries: Sequence[Summary]) -> Table:
    """What requests took: each time for all runs, those that are not known left out."""
    rows = [
        [f"{name}, {each.name}", *_spread(spread)]
        for key, name in TIMES.items()
        for each in summaries
        if not isnan((spread := getattr(each.all, key)).mean)
    ]
    return Table("Times", ("", "mean", "p50", "p95", "p99", "max"), rows, "Of the requests that are done.")


def device(summaries: Sequence[Summary]) -> Table:
    """What the device did."""
    columns = ("run", "duration", "loads", "unloads", "resizes", "preemptions", "of a request", "a minute")
    rows = [
        [
            each.name,
            _shown(each.duration, seconds),
            *(_shown(value, _count) for value in (each.usage.loads, each.usage.unloads, each.usage.resizes)),
            _shown(each.all.preemptions, _count),
            *(_shown(value, figure) for value in (each.all.preempted, each.preemption_rate)),
            *(_shown(size, lambda size: brief_size(int(size))) for size in (each.usage.moved, each.usage.carried)),
            *(_share(share) for share in (each.computing, each.moving, each.idle)),
        ]
        for each in summaries
    ]
    caption = "Moved: weights onto the device. Carried: states of preempted requests, both ways. -: not known."
    return Table("Device", (*columns, "moved", "carried", "computing", "moving", "idle"), rows, caption)


def models(summary: Summary) -> Table:
    """A run's models apart."""
    columns = ("model", "requests", "SLO met", "goodput", "TTFT p50", "TTFT p95", "TPOT p50", "TPOT p95")
    rows = [
        [
            model,
            f"{each.requests:,}",
            _share(each.attainment),
            _shown(each.goodput, figure),
            *(_shown(value, seconds) for value in (each.ttft.p50, each.ttft.p95, each.tpot.p50, each.tpot.p95)),
            *(_shown(value, seconds) for value in (each.latency.p50, each.wait.p95)),
            *(f"{count:,}" for count in (each.refused, each.failed, each.open)),
            _shown(each.preemptions, _count),
        ]
        for model, each in summary.models.items()
    ]
    more = ("latency p50", "wait p95", "refused", "failed", "open", "preemptions")
    return Table(f"By model, {summary.name}", (*columns, *more), rows)


def validation(found: Mapping[str, Mapping[str, float]]) -> Table:
    """Errors of simulations, as ``metrics.errors`` gives them, by a name of the run that was simulated."""
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    rows = [
        [run, *(_shown(row[name], lambda share: f"{share * 100:+.1f} %") if name in row else "-" for name in columns)]
        for run, row in found.items()
    ]
    caption = "(Simulated - live) / live. -: not known, or nothing of it live."
    return Table("The simulation's errors", ("run", *columns), rows, caption)


def promise(slos: Slos) -> str:
    """The SLO in words."""
    own = [f"{model} {_limits(slo)}" for model, slo in slos.models.items()]
    return "; ".join([f"SLO: {_limits(slos.default)}", *own])


def as_rows(summary: Summary) -> dict[str, Any]:
    """All figures of a run ready for JSON, with None where one is not known; seconds, bytes, shares."""
    rows: dict[str, Any] = _plain(asdict(summary) | _whole(summary))
    return rows


def flat(summary: Summary) -> list[dict[str, Any]]:
    """The same as rows of one depth: all requests first, with an empty model, then each model."""
    run = {"run": summary.name, "trace": summary.trace, "duration": summary.duration}
    whole = asdict(summary.usage) | _whole(summary)
    parts: list[tuple[str, Figures, dict[str, Any]]] = [("", summary.all, whole)]
    parts += [(model, each, {}) for model, each in summary.models.items()]
    return [_plain({**run, "model": model, **_flat(asdict(figures)), **more}) for model, figures, more in parts]


def _whole(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, each) for name, each in _WHOLE.items()}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= {f"{name}_{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _plain(value: Any) -> Any:
    """With None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and isnan(value) else value


def _limits(slo: Slo) -> str:
    return f"TTFT {slo.ttft:g} s, TPOT {1000 * slo.tpot:g} ms"


def _spread(spread: Spread) -> list[str]:
    return [_shown(value, seconds) for value in (spread.mean, spread.p50, spread.p95, spread.p99, spread.most)]


def _shown(value: float, how: Callable[[float], str]) -> str:
    return "-" if isnan(value) else how(value)


def _share(value: float) -> str:
    """With a digit more than usual: between 99 % and all there is much to tell."""
    return _shown(value, lambda share: percent(share, 1))


def _count(value: float) -> str:
    return f"{value:,.0f}"
