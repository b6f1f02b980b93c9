"""Synthetic traces: the same seed gives the same trace.

Arrivals are described in ``arrivals``. Whom a request is for, unless it follows an answer, is drawn by Zipf's law: of
``N`` models, the ``k``-th has

    share(k) = k^-z / (1^-z + ... + N^-z)        z = 0: all alike

Lengths are log-normal, rounded to whole tokens and kept within 1 and ``most``; or they are taken, prompt and output
together, from requests of a given trace, of the same model if it is there:

    tokens = median * exp(sigma * n)        n ~ Normal(0, 1)

Agents ask on: each answer is followed by another request with chance ``p``, so that chains have 1/(1 - p) requests on
average, geometrically distributed. It comes after an exponentially distributed time to think, for another model where
there are several, drawn by the shares of these, and its prompt has all that was said before in it:

    prompt_j = min(most, drawn_j + prompt_(j-1) + output_(j-1))
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hotbunk.traces.arrivals import Arrivals
from hotbunk.traces.trace import ROOT, Floats, Integers, Trace

__all__ = ["Chains", "LogNormal", "Popularity", "Recipe", "draw", "named"]

_Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Lengths in tokens: their median, the standard deviation of their logarithm, and the greatest."""

    median: float
    sigma: float
    most: int

    def __post_init__(self) -> None:
        assert 1 <= self.median <= self.most
        assert self.sigma >= 0

    def drawn(self, random: np.random.Generator, count: int) -> Integers:
        """So many lengths."""
        with np.errstate(over="ignore"):
            tokens = self.median * np.exp(self.sigma * random.standard_normal(count))
        return np.rint(np.clip(tokens, 1, self.most)).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Popularity:
    """Models, the most asked first, and the exponent of Zipf's law."""

    models: tuple[str, ...]
    exponent: float = 1.0

    def __post_init__(self) -> None:
        assert self.models
        assert len(set(self.models)) == len(self.models)
        assert self.exponent >= 0

    @property
    def shares(self) -> Floats:
        """Of all requests, by model."""
        weights: Floats = np.arange(1.0, len(self.models) + 1) ** -self.exponent
        weights /= weights.sum()
        return weights


@dataclass(frozen=True, slots=True)
class Chains:
    """The chance that an answer is followed by another request, and the mean seconds to think before it."""

    chance: float
    think: float

    def __post_init__(self) -> None:
        assert 0 <= self.chance < 1
        assert self.think >= 0


@dataclass(frozen=True)
class Recipe:
    """What to draw: ``requests`` in all, or those that begin or whose chain begins within ``duration`` seconds.

    With both, whichever is less. The rate of ``arrivals`` counts what follows nobody's answer. ``lengths`` are those of
    prompts and outputs, or a trace to take both from.
    """

    arrivals: Arrivals
    popularity: Popularity
    lengths: tuple[LogNormal, LogNormal] | Trace
    chains: Chains = field(default=Chains(0.0, 0.0))
    requests: int | None = None
    duration: float | None = None

    def __post_init__(self) -> None:
        assert self.requests is not None or self.duration is not None
        assert self.requests is None or self.requests > 0


def named(count: int) -> tuple[str, ...]:
    """Names for so many models: ``model-1`` and so on."""
    return tuple(f"model-{number}" for number in range(1, count + 1))


def draw(recipe: Recipe, seed: int, name: str = "drawn") -> Trace:
    """Draw a trace. Times are whole microseconds."""
    times = recipe.arrivals.times(seed, recipe.requests, recipe.duration).round(6)
    # one for each kind of chance, so that a change of one leaves the others as they are
    linking, asking, telling, thinking, turning = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(part,))) for part in range(1, 6)
    )
    depth = _depths(recipe, linking, len(times))
    after = np.where(depth, np.arange(len(depth)) - 1, ROOT).astype(np.int32)
    models = recipe.popularity.models
    model = asking.choice(len(models), len(depth), p=recipe.popularity.shares).astype(np.int32)
    _turn_away(model, depth, recipe.popularity.shares, turning)
    prompt, output, most = _lengths(recipe, model, telling)
    _remember(prompt, output, depth, most)
    arrival = thinking.exponential(recipe.chains.think, len(depth)).round(6)
    roots = np.flatnonzero(after == ROOT)
    arrival[roots] = times[: len(roots)]
    return Trace(name, models, arrival, model, prompt, output, after)


def _depths(recipe: Recipe, random: np.random.Generator, roots: int) -> _Rows:
    """For each row how many it has before it in its chain; chains stand one after the other."""
    lengths = random.geometric(1 - recipe.chains.chance, roots)
    ends = np.cumsum(lengths)
    depth = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    return depth[: recipe.requests]


def _turn_away(model: Integers, depth: _Rows, shares: Floats, random: np.random.Generator) -> None:
    """Give those that would ask the model whose answer they follow another one, by the shares of the others."""
    count, ends = len(shares), np.cumsum(shares)
    if count == 1:
        return
    for level in range(1, int(depth.max(initial=0)) + 1):
        rows = np.flatnonzero(depth == level)
        rows = rows[model[rows] == model[rows - 1]]
        same = model[rows]
        # the shares in a circle, from the end of that model's to its beginning
        drawn = (ends[same] + random.random(len(rows)) * (1 - shares[same])) % 1.0
        steps = (np.searchsorted(ends, drawn, side="right") - same) % count
        model[rows] = (same + np.maximum(steps, 1)) % count  # rounding may come full circle


def _lengths(recipe: Recipe, model: Integers, random: np.random.Generator) -> tuple[Integers, Integers, int]:
    """Prompts, outputs, and the longest prompt that may be."""
    count = len(model)
    if not isinstance(recipe.lengths, Trace):
        prompt, output = (each.drawn(random, count) for each in recipe.lengths)
        return prompt, output, recipe.lengths[0].most
    given = recipe.lengths
    rows = random.integers(0, len(given), count)
    for place, name in enumerate(recipe.popularity.models):
        theirs = np.flatnonzero(given.model == given.models.index(name)) if name in given.models else np.zeros(0)
        if len(theirs):
            mine = np.flatnonzero(model == place)
            rows[mine] = random.choice(theirs, len(mine))
    return given.prompt[rows], given.output[rows], int(given.prompt.max())


def _remember(prompt: Integers, output: Integers, depth: _Rows, most: int) -> None:
    """Put into each prompt what was said before in its chain."""
    for level in range(1, int(depth.max(initial=0)) + 1):
        rows = np.flatnonzero(depth == level)
        said = prompt[rows].astype(np.int64) + prompt[rows - 1] + output[rows - 1]
        prompt[rows] = np.minimum(said, most)
