"""Device profiles: a machine as a file, to be simulated anywhere.

A profile has the machine's roofline, what was fitted for models on it, and what a restarting peer pays there. Three
kinds come with hotbunk (``profiles/``): made of committed measurements, or constructed of published numbers; each says
so in its ``note``. Others are made of what ``hotbunk profile`` has stored.

A model that the profile does not know gets the factors of the one that is most like it there (by the bits of its
weights, then by its size): by how much a term is slower than its roofline is a matter of the machine and of the
type of the weights, before it is one of the model.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from math import log
from pathlib import Path

import msgspec

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.linear import Fit
from hotbunk.costs.model import TERMS, Costs
from hotbunk.costs.record import Kind
from hotbunk.costs.roofline import Roofline
from hotbunk.errors import ConfigError
from hotbunk.simulator.moving import Restart
from hotbunk.simulator.pace import Delays
from hotbunk.simulator.sound import check

__all__ = ["Profile", "Profiled", "names", "read", "write"]

FORMAT = 4
"""Raised whenever what a file says changes its meaning."""


class Profiled(msgspec.Struct, frozen=True):
    """A model that was measured: its anatomy, and the fits of its costs by kind."""

    anatomy: Anatomy
    fits: dict[Kind, Fit]

    @property
    def current(self) -> Profiled:
        """The same over the terms of today; a file may be older than one of them."""
        fits = {kind: fit.over([term.name for term in TERMS[kind]]) for kind, fit in self.fits.items()}
        return Profiled(self.anatomy, fits)


class Profile(msgspec.Struct, frozen=True):
    """A machine. Sizes are bytes, times seconds.

    ``memory`` and ``host`` are the device's and the host's memory (0: not known); ``restart`` is what those pay who
    start a process for each load; ``latency``, ``hop``, ``turn``, ``draw`` and ``change`` are hotbunk's own
    (``pace.Delays``).
    ``measured``: whether it was made of measurements of such a machine.
    """

    name: str
    note: str
    measured: bool
    memory: int
    host: int
    roofline: Roofline
    restart: Restart
    models: dict[str, Profiled] = {}
    latency: float = 0.004
    hop: float = 0.001
    turn: float = 0.0
    draw: float = 0.0
    change: float = 0.0
    format: int = FORMAT

    def costs(self, anatomy: Anatomy) -> Costs:
        """A model's costs on this machine; see above for models that were not measured."""
        if not self.models:
            return Costs.prior(anatomy, self.roofline)
        known = self.models.get(anatomy.name) or min(
            self.models.values(), key=lambda each: _apart(each.anatomy, anatomy)
        )
        prior = Costs.prior(anatomy, self.roofline)
        return Costs(anatomy, self.roofline, {**prior.fits, **known.fits})

    @property
    def delays(self) -> Delays:
        """Hotbunk's own."""
        return Delays(self.latency, self.hop, self.turn, self.draw, self.change)


def names() -> list[str]:
    """The profiles that come with hotbunk."""
    return sorted(each.name.removesuffix(".json") for each in _folder().iterdir() if each.name.endswith(".json"))


def read(which: str) -> Profile:
    """One of ``names``, or a file.

    Raises:
        ConfigError: there is no such profile, or it is none, or a newer one, or a number in it is none to reckon with.
    """
    if which in names():
        text = _folder().joinpath(f"{which}.json").read_bytes()
    else:
        try:
            text = Path(which).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"no device profile {which}: {error.strerror}; name a file, or one of {', '.join(names())}, or store"
            ) from error
    try:
        version = msgspec.json.decode(text, type=dict[str, object]).get("format", FORMAT)
        if version != FORMAT:
            raise ConfigError(
                f"{which}: format {version}, this hotbunk knows {FORMAT}; update hotbunk, or make it anew"
            )
        profile = msgspec.json.decode(text, type=Profile)
        check(profile)
        models = {name: model.current for name, model in profile.models.items()}
        return msgspec.structs.replace(profile, models=models)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{which}: is no device profile ({error})") from error


def write(profile: Profile, path: Path) -> None:
    """Write a profile to a file.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(profile, order="deterministic"), indent=1) + b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def _folder() -> Traversable:
    return files(__package__).joinpath("profiles")


def _apart(one: Anatomy, other: Anatomy) -> tuple[float, float]:
    """How far apart two models are: in bits of a weight, and in size."""
    return abs(log(_bits(one) / _bits(other))), abs(log(max(one.weights, 1) / max(other.weights, 1)))


def _bits(anatomy: Anatomy) -> float:
    return 8 * anatomy.weights / max(sum(layer.elements + layer.expert_elements for layer in anatomy.layers), 1)
