"""Service level objectives: how long a request's first token, and each one after it, may take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hotbunk.errors import ConfigError
from hotbunk.units import parse_duration

__all__ = ["Slo", "Slos"]

_FORM = "write it like ttft=2s,tpot=100ms or MODEL:ttft=30s"


@dataclass(frozen=True, slots=True)
class Slo:
    """Seconds that a request's TTFT and its TPOT may take at most."""

    ttft: float = 2.0
    tpot: float = 0.1


@dataclass(frozen=True)
class Slos:
    """What is promised to all models, and to some of them instead."""

    default: Slo = Slo()
    models: Mapping[str, Slo] = field(default_factory=dict)

    @classmethod
    def read(cls, texts: Sequence[str], models: Collection[str]) -> Slos:
        """Read ``ttft=2s,tpot=100ms``, for all, and ``MODEL:ttft=30s``; what a model is not told, it has from all.

        ``models`` are those that are asked for.

        Raises:
            ConfigError: one of the texts cannot be read, or names none of the models.
        """
        parts = [(text, *_split(text)) for text in texts]
        default = Slo()
        for text, model, limits in parts:
            default = default if model else _changed(default, text, limits)
        own: dict[str, Slo] = {}
        for text, model, limits in parts:
            if model and model not in models:
                raise ConfigError(f"--slo {text}: nothing is asked of {model}; the models are {', '.join(models)}")
            if model:
                own[model] = _changed(own.get(model, default), text, limits)
        return cls(default, own)

    def of(self, model: str) -> Slo:
        """What is promised to a model."""
        return self.models.get(model, self.default)


def _split(text: str) -> tuple[str, str]:
    """The model, empty for all, and its limits; a model's name may have colons of its own."""
    model, _, limits = text.rpartition(":")
    return model, limits


def _changed(slo: Slo, text: str, limits: str) -> Slo:
    for limit in limits.split(","):
        name, _, value = limit.partition("=")
        if name.strip() not in Slo.__slots__:
            raise ConfigError(f"--slo {text}: {limit!r} is neither ttft nor tpot; {_FORM}")
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ConfigError(f"--slo {text}: {value!r} is {error}") from error
        if seconds <= 0:
            raise ConfigError(f"--slo {text}: {value} can never be met; give more than nothing")
        slo = replace(slo, **{name.strip(): seconds})
    return slo
