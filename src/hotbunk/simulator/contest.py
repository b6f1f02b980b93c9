"""A contest: policies by name, on the same device profile, with the same models and the same trace.

A name may end in what a switch costs: ``+fast`` is hotbunk's way (living models, pinned weights), ``+restart`` a peer's
(a process for each load). Without it hotbunk's own policies are fast and the baselines restart, as they really do; so
what a policy is worth and what the fast path is worth can be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.model import Costs
from hotbunk.costs.moves import MoveCosts
from hotbunk.costs.price import offers
from hotbunk.costs.rates import PROMISE, Promise, rates
from hotbunk.errors import ConfigError
from hotbunk.outcomes.outcome import Run
from hotbunk.placement import Placement
from hotbunk.scheduler import POLICIES, Bound, actions
from hotbunk.scheduler.baselines import BASELINES
from hotbunk.scheduler.policies import Policy
from hotbunk.simulator.case import Case
from hotbunk.simulator.hoststore import HostStore
from hotbunk.simulator.moving import Live, Moving
from hotbunk.simulator.profile import Profile
from hotbunk.simulator.simulation import Subject
from hotbunk.traces.trace import Trace
from hotbunk.units import brief_size

__all__ = ["WAYS", "Setting", "Standing", "contenders"]

WAYS = ("fast", "restart")
"""What a switch may cost."""


def contenders() -> list[str]:
    """The names that there are, without what a switch costs."""
    return [*sorted(POLICIES), *sorted(BASELINES)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a live server has a model: where it may go, and the bounds, in seconds, on its coming and its leaving."""

    placements: tuple[Placement, ...]
    load: float
    leave: float


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common.

    ``budget`` and ``host`` are bytes of device memory and of the host store; ``context`` is tokens of a slot, of which
    a model has ``slots``; ``bound`` and ``quantum`` are those of hotbunk's own policies, ``promises`` what users of a
    model may expect. Models that are ``standing`` on a live server are taken from there by hotbunk's own policies;
    where others go is worked out by formula. Requests are ``announced`` with the lengths of their answers where a run
    is held against a replay, whose requests say them; policies are judged without, since users do not know them.
    ``sets`` are llama-swap's, of models that may be there together.
    """

    profile: Profile
    models: Mapping[str, Anatomy]
    budget: int
    context: int = 8192
    slots: int = 4
    host: float = float("inf")
    bound: Bound = field(default_factory=Bound)
    quantum: float = 2.0
    promises: Mapping[str, Promise] = field(default_factory=dict)
    standing: Mapping[str, Standing] = field(default_factory=dict)
    announced: bool = False
    sets: tuple[frozenset[str], ...] = ()

    def run(
        self, name: str, trace: Trace, hear: Callable[[float, actions.Decision], None] = lambda now, action: None
    ) -> Run:
        """Serve a trace by a contender; ``hear`` is told each decision.

        Raises:
            ConfigError: as for ``case``.
        """
        policy, _ = self._contender(name)
        return self.case(name, trace).simulation(name, policy, hear).run()

    def case(self, name: str, trace: Trace) -> Case:
        """A trace with what a contender is given to serve it with.

        Raises:
            ConfigError: there is none of that name, or no placement of a model fits the host's memory.
        """
        policy, way = self._contender(name)
        own = name.partition("+")[0] in POLICIES
        splits = getattr(policy, "splits", not own)
        parallel = getattr(policy, "parallel", None)
        subjects = tuple(self._subject(model, own, splits, parallel, way == "restart") for model in trace.models)
        delays = self.profile.delays
        return Case(trace, subjects, self.budget, lambda: self._moving(way), delays, self.announced).remembering()

    def _contender(self, name: str) -> tuple[Policy, str]:
        plain, _, way = name.partition("+")
        if plain not in contenders() or way not in ("", *WAYS):
            known = ", ".join(contenders())
            raise ConfigError(f"no policy {name!r}; there are {known}, each also with +fast or +restart behind it")
        if plain in POLICIES:
            return POLICIES[plain](self.bound, self.quantum), way or "fast"
        options = {"sets": self.sets} if plain == "llama-swap" else {}
        return BASELINES[plain](**options), way or "restart"

    def _moving(self, way: str) -> Moving:
        if way == "restart":
            return self.profile.restart
        sizes = {model: anatomy.weights for model, anatomy in self.models.items()}
        store = HostStore(sizes, self.host, lambda model: self._costs[model].pin().seconds)
        return Live(store, overlaps=self.profile.roofline.h2d_pinned is not None)

    def _subject(self, model: str, own: bool, splits: bool, parallel: int | None, restarts: bool) -> Subject:
        """Who does not split is offered the best that fits the budget, as it is live; others have a choice."""
        costs, places = self._costs[model], tuple[Placement, ...]()
        if own and model in self.standing:
            live = self.standing[model]
            places, bounds = live.placements, (live.load, live.leave)
        else:
            places = self._offers(model, parallel or self.slots)
            moves = MoveCosts(places[0], None if restarts else costs)
            bounds = moves.load, moves.leave
        places = places if splits else places[:1]
        found = tuple(rates(costs, place) for place in places)
        if restarts:
            again = [self.profile.restart.soonest(costs, place) + self.profile.restart.stop for place in places]
            found = tuple(replace(each, load=seconds) for each, seconds in zip(found, again, strict=True))
        return Subject(model, costs, places, rates=found, promise=self.promises.get(model, PROMISE), bounds=bounds)

    def _offers(self, model: str, slots: int) -> tuple[Placement, ...]:
        """What fits the budget, and the host's memory where the profile tells it."""
        places, host = offers(self.models[model], self.context, slots, self.budget), self.profile.host
        fitting = tuple(place for place in places if not host or place.host.total <= host)
        if not fitting:
            least = brief_size(min(place.host.total for place in places))
            raise ConfigError(
                f"{model}: {slots} slots of {self.context} tokens take at least {least} of host memory, "
                f"of which {self.profile.name} has {brief_size(host)}; give a smaller context, or fewer slots"
            )
        return fitting

    @cached_property
    def _costs(self) -> dict[str, Costs]:
        return {name: self.profile.costs(anatomy) for name, anatomy in self.models.items()}
