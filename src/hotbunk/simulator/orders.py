"""A tighter lower bound for few requests: the cheapest order in which they could end.

Whatever the schedule, its requests end in some order. Let ``K`` be the first ``k`` of them. Before the k-th end the
device's loop has done, for each model, all that those in ``K`` need (symbols in ``floor``):

- the sum of their shares at least, and also
- ``max over j in K of (alone_j + sum over the others of beside)``: there is a step wherever ``j`` needs one, and each
  other sequence in a step adds what one more costs (``beside``); so a short answer costs little beside a long one, but
  the long one costs all of its steps.

That is the time ``T(K)``. It is needed after the clock, and that of those who come at ``r`` or later after ``r``.
While a model beside which no other fits is loaded, nothing is computed; and if such a model's request ends after one of
another model, all of its load lies between both ends. So with ``L`` the loads along the order, the k-th end is at least

    max(clock + L + T(K),  r_i + T(those of K that come at r_i or later) for all i,  the end of each of K by itself)

The least sum of ends over all orders is found by going through all sets ``K``, smaller ones first, and keeping for each
set and last model what is best: less summed so far, or less loaded so far. A request whose end is beyond its deadline
has missed its SLO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotbunk.simulator.floor import Pending, Score

__all__ = ["MOST", "least"]

MOST = 8
"""Requests of which all sets are gone through."""

_Label = tuple[Score, float]
"""How many have missed and the sum of ends, and the loads, along an order."""


def least(
    pending: Sequence[Pending], clock: float, loads: Mapping[str, float], switches: Mapping[tuple[str, str], float]
) -> Score:
    """Requests that miss their deadline, and the sum of ends in seconds, in the best case.

    ``loads``: what is left by model of a load during which nothing is computed; ``switches``: seconds from the end of
    a request for the one until the other can be used, in which nothing is computed.
    """
    jobs = sorted(pending, key=lambda each: each.known)
    times, earliest = _sets(jobs)
    table: list[dict[str, list[_Label]]] = [{} for _ in times]
    table[0][""] = [((0, 0.0), 0.0)]
    for done, labels in enumerate(table):
        for place, job in enumerate(jobs):
            if done >> place & 1:
                continue
            now = done | 1 << place
            found = table[now].setdefault(job.model, [])
            for last, known in labels.items():
                more = switches.get((last, job.model), 0.0) if last else loads.get(job.model, 0.0)
                for (missed, total), loaded in known:
                    loaded += more
                    end = max(earliest[now], clock + loaded + times[now])
                    _keep(found, ((missed + (end > job.deadline), total + end), loaded))
    return min(label[0] for known in table[-1].values() for label in known)


def _keep(labels: list[_Label], new: _Label) -> None:
    """Unless there is one that is better in all; those that are worse in all go."""
    if not any(each[0] <= new[0] and each[1] <= new[1] for each in labels):
        labels[:] = [each for each in labels if not (new[0] <= each[0] and new[1] <= each[1])]
        labels.append(new)


def _sets(jobs: Sequence[Pending]) -> tuple[list[float], list[float]]:
    """By set, as bits: the time ``T`` that it takes, and when it can be over at the earliest if loads take none."""
    times, earliest = [0.0] * (1 << len(jobs)), [0.0] * (1 << len(jobs))
    for model in {job.model for job in jobs}:
        for some, seconds in enumerate(_model(jobs, model)):
            times[some] += seconds
    for some in range(1, len(times)):
        place = (some & -some).bit_length() - 1  # who comes first of them
        rest = some & (some - 1)
        job = jobs[place]
        earliest[some] = max(job.known + times[some], job.end, earliest[rest])
    return times, earliest


def _model(jobs: Sequence[Pending], model: str) -> list[float]:
    """By set: the time for those of it who want this model."""
    shares, beside, most = [0.0], [0.0], [0.0]
    for job in jobs:
        work = job.work if job.model == model else None
        share, own, more = (work.share, work.beside, work.alone - work.beside) if work else (0.0, 0.0, 0.0)
        shares += [each + share for each in shares]
        beside += [each + own for each in beside]
        most += [max(each, more) for each in most]
    return [max(share, own + more) for share, own, more in zip(shares, beside, most, strict=True)]
