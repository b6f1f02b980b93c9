"""What ``hotbunk simulate`` has to know beside the trace: the machine's profile, and the models' anatomies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.store import Store
from hotbunk.errors import ConfigError
from hotbunk.llama import gguf
from hotbunk.simulator import profile as profiles
from hotbunk.simulator.profile import Profile
from hotbunk.simulator.stored import stored
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES, TYPES

__all__ = ["anatomies", "profile", "sets"]


def profile(which: str, store: Path | None) -> Profile:
    """A device profile: one that comes with hotbunk, a file, or ``store``, with a part of the device's name behind it.

    Raises:
        ConfigError: there is none.
    """
    place, _, device = which.partition(":")
    if place != "store":
        return profiles.read(which)
    with Store(store, make=False) as kept:
        return stored(kept, device)


def anatomies(models: Sequence[str], given: Sequence[str], machine: Profile) -> dict[str, Anatomy]:
    """The anatomy of each model of a trace, by what the command line says of it, or by its own name.

    Raises:
        ConfigError: it is not said what one of them is, or said twice, or that is nothing known.
    """
    said: dict[str, str] = {}
    for name, what in map(_pair, given):
        if name in said:
            raise ConfigError(f"--model {name}={what}: {name} is {said[name]} already; say it once")
        said[name] = what
    if strange := sorted(set(said) - set(models)):
        raise ConfigError(f"--model {strange[0]}=...: the trace's models are {', '.join(models)}")
    known = {*SHAPES, *machine.models}
    if missing := [model for model in models if model not in said and model not in known]:
        raise ConfigError(
            f"the trace asks for {', '.join(missing)}: say what that is, like --model {missing[0]}=qwen3-8b:Q4_K_M "
            f"(shapes: {', '.join(SHAPES)}) or --model {missing[0]}=FILE.gguf"
        )
    return {model: _anatomy(model, said.get(model, model), machine) for model in models}


def sets(models: Sequence[str], given: Sequence[str]) -> tuple[frozenset[str], ...]:
    """llama-swap's sets, each with commas between its models.

    Raises:
        ConfigError: the trace does not ask for one of them.
    """
    found = []
    for text in given:
        names = frozenset(name.strip() for name in text.split(","))
        if names - set(models) or len(names) < 2:
            raise ConfigError(f"--set {text}: write it like MODEL,MODEL; the trace's models are {', '.join(models)}")
        found.append(names)
    return tuple(found)


def _pair(text: str) -> tuple[str, str]:
    name, _, what = text.partition("=")
    if not (name and what):
        raise ConfigError(f"--model {text}: write it like NAME=qwen3-8b:Q4_K_M or NAME=FILE.gguf")
    return name, what


def _anatomy(model: str, what: str, machine: Profile) -> Anatomy:
    """A model that was profiled keeps the name that it has there, so that its own fits are taken."""
    if what in machine.models:
        return machine.models[what].anatomy
    if what.endswith(".gguf"):
        [path] = gguf.find([Path(what)])
        return dissect(gguf.read(path), gguf.stem(path))
    shape, _, kind = what.partition(":")
    if shape not in SHAPES:
        known = ", ".join(dict.fromkeys([*SHAPES, *machine.models]))
        raise ConfigError(f"--model {model}={what}: no such shape; take one of {known}, or a GGUF file")
    if kind and kind not in TYPES:
        raise ConfigError(f"--model {model}={what}: no type {kind}; take one of {', '.join(TYPES)}")
    return dissect(described(SHAPES[shape], kind or None), what)
