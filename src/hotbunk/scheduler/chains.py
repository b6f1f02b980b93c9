"""Who is asked after whom: an agent's answer from one model is often followed by a request to another.

Of each model's answers, the share after which another model was asked within ``WITHIN`` seconds is learnt, the latest
``MEMORY`` of them counting most. When an answer ends, a model that was asked after more than half of those before, and
twice as often as it would be by chance at its rate of late, is *expected* for as long: it may be loaded meanwhile where
that delays nobody, as for a request that is being prepared.
"""

from __future__ import annotations

from math import exp

from hotbunk.scheduler import events
from hotbunk.scheduler.snapshot import Chain, Model, Snapshot

__all__ = ["MEMORY", "WITHIN", "followed"]

WITHIN = 10.0
"""Seconds after an answer in which a request counts as following it."""
MEMORY = 16
"""Answers over which the share is taken."""
_DOUBT = 4


def followed(snapshot: Snapshot, event: events.Event) -> Snapshot:
    """The snapshot with what an event, which it has seen, says of chains."""
    model = snapshot.models.get(getattr(event, "model", ""))
    match event:
        case events.Finished() if model:
            return _ended(snapshot, model)
        case events.Submitted() if model:
            return _asked(snapshot, model)
    return snapshot


def _ended(snapshot: Snapshot, model: Model) -> Snapshot:
    """An answer more: nobody has followed it yet, but some will."""
    now, keep = snapshot.now, 1 - _weight(model)
    before = snapshot.chains.get(model.id, Chain())
    heirs = {name: share * keep for name, share in before.heirs.items() if share > 1e-3}
    changed = {}
    for name, share in before.heirs.items():
        heir = snapshot.models.get(name) if share > 0.5 else None
        if heir and not heir.queue and share > 2 * (1 - exp(-heir.asking(now) * WITHIN)):
            changed[name] = heir.but(expected=max(heir.expected, now + WITHIN))
    chains = {**snapshot.chains, model.id: Chain(heirs, now + WITHIN)}
    if changed:
        return snapshot.but(models={**snapshot.models, **changed}, chains=chains)
    return snapshot.at(now, chains=chains)


def _asked(snapshot: Snapshot, model: Model) -> Snapshot:
    """It follows the answers that ended shortly before."""
    changed, now = {}, snapshot.now
    for name, chain in snapshot.chains.items():
        if chain.open < now or name == model.id or model.id in chain.seen:
            continue
        if other := snapshot.models.get(name):
            heirs = {**chain.heirs, model.id: chain.heirs.get(model.id, 0.0) + _weight(other)}
            changed[name] = chain._replace(heirs=heirs, seen=chain.seen | {model.id})
    return snapshot.at(now, chains={**snapshot.chains, **changed}) if changed else snapshot


def _weight(model: Model) -> float:
    """Of its latest answer, among those before; a few are taken to have been followed by nobody."""
    return 1 / min(model.answered + _DOUBT, MEMORY)
