"""The heart: events in, actions out. No clock, no I/O; the same object decides live and in simulation."""

import logging
from collections.abc import Iterable, Iterator
from math import inf

from hotbunk.scheduler import actions, events
from hotbunk.scheduler.ledger import carry_out, observe
from hotbunk.scheduler.policies import Policy
from hotbunk.scheduler.snapshot import Phase, Snapshot

log = logging.getLogger("hotbunk.scheduler")


class Scheduler:
    """Decides for one device of ``budget`` bytes, by ``policy``.

    ``snapshot`` is all it knows; it changes only in ``handle``. What a policy raises is raised there, unless the
    scheduler is ``enduring``, as a server's is: then it is logged.
    """

    def __init__(self, budget: int, policy: Policy, enduring: bool = False) -> None:
        self.policy, self._enduring = policy, enduring
        self.snapshot = Snapshot(budget)

    def handle(self, event: events.Event) -> list[actions.Decision | actions.Wake]:
        """Take note of ``event`` and return what to do now, in order.

        At most one ``Wake``, the last action, says when to send a ``Tick`` should nothing else happen before.
        """
        self.snapshot = observe(self.snapshot, event)
        done: list[actions.Decision | actions.Wake] = []
        try:
            done.extend(self._apply(self._ordered(event)))
            while (verdict := self.policy.decide(self.snapshot)).actions:
                done.extend(self._apply(verdict.actions))
        except Exception:
            if not self._enduring:
                raise
            # what the snapshot says has been done by now must be done all the same
            log.exception("could not decide what comes after %s", event)
            return done
        return [*done, actions.Wake(verdict.wake)] if verdict.wake < inf else done

    def _apply(self, decided: Iterable[actions.Decision]) -> Iterator[actions.Decision]:
        """Take note of each action, one after the other; each that is legal is handed on before the next."""
        before = self.snapshot
        for action in decided:
            model = self.snapshot.models[action.model]
            least = self.policy.least(model)
            match action:
                case actions.Load() | actions.Resize():
                    over = before.clear + model.load
                case actions.Suspend():
                    over = before.settled + model.leave
                case _:
                    over = before.now  # it begins no turn
            self.snapshot = carry_out(self.snapshot, action, over + least, least)
            yield action

    def _ordered(self, event: events.Event) -> list[actions.Decision]:
        """What an event demands by itself, whatever the policy: refusals, and an administrator's orders."""
        model = self.snapshot.models.get(getattr(event, "model", ""))
        match event:
            case events.Submitted() if model:
                refusal = self.policy.admit(self.snapshot, model, event.sequence)
                return [refusal] if refusal else []
            case events.Dismissed() if model and model.phase is Phase.READY:
                why = "an administrator's order"
                return [*(actions.Suspend(model.id, why, s.id) for s in model.running), actions.Unload(model.id, why)]
            case events.Wanted() if model and event.placement and self.snapshot.could(model, event.placement):
                moves = event.placement != model.placement
                return [actions.Resize(model.id, event.why, event.placement)] if moves else []
        return []
