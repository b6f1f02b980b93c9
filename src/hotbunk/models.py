"""Which models are served: the files found, under the names and with the settings of the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hotbunk.config import Config, ModelConfig, SamplingDefaults
from hotbunk.costs.rates import PROMISE, Promise
from hotbunk.errors import ConfigError
from hotbunk.llama.gguf import find, stem

__all__ = ["Served", "served"]

CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class Served:
    """One model to serve, with every default filled in. ``device`` and ``layers`` None leave the choice to hotbunk.

    ``sampling`` holds defaults by field of ``sampling.Sampling``; ``promise`` is what its users may expect.
    """

    id: str
    path: Path
    alias: tuple[str, ...]
    context: int | None
    slots: int
    priority: int
    keep_resident: bool
    device: str | None
    layers: int | None
    sampling: Mapping[str, float] = field(default_factory=dict)
    promise: Promise = PROMISE

    def tokens(self, trained: int) -> int:
        """Tokens of a slot's context: what was configured, or the trained length up to 8192."""
        return self.context or min(trained, CONTEXT)


def served(config: Config) -> list[Served]:
    """List the models to serve, by id.

    Raises:
        ConfigError: nothing to serve, a path that does not exist, a configured model without a file, or one name for
            two models.
    """
    files = _files(config)
    if not files:
        raise ConfigError("no model to serve: name GGUF files or folders, or set paths in the configuration")
    for name in config.models:
        if name not in files:
            raise ConfigError(f"models.{name}: no such file; set its path, or take one of {', '.join(sorted(files))}")
    models = [_served(name, files[name], config) for name in sorted(files)]
    _check_names(models)
    return models


def _files(config: Config) -> dict[str, Path]:
    """Map ids to files: the configured name where a model gives its path, the file's stem otherwise."""
    files = {name: find([model.path])[0] for name, model in config.models.items() if model.path}
    named = {_identity(file) for file in files.values()}
    for file in find(config.paths):
        name = stem(file)
        if _identity(file) in named:
            continue
        if name in files:
            raise ConfigError(f"two files are called {name!r}: {files[name]} and {file}; name one in the configuration")
        files[name] = file
    return files


def _identity(file: Path) -> tuple[Path, str]:
    return file.parent.resolve(), stem(file)


def _served(name: str, path: Path, config: Config) -> Served:
    model = config.models.get(name, ModelConfig())
    return Served(
        id=name,
        path=path,
        alias=tuple(model.alias),
        context=model.context or config.context,
        slots=model.slots or config.slots,
        priority=model.priority,
        keep_resident=model.keep_resident,
        device=model.device,
        layers=model.layers,
        sampling=_set(config.sampling) | _set(model.sampling),
        promise=Promise(
            model.slo.ttft or config.slo.ttft or PROMISE.ttft, model.slo.tpot or config.slo.tpot or PROMISE.tpot
        ),
    )


def _set(defaults: SamplingDefaults) -> dict[str, float]:
    return defaults.model_dump(exclude_none=True)


def _check_names(models: list[Served]) -> None:
    owners: dict[str, str] = {}
    for model in models:
        for name in (model.id, *model.alias):
            if name in owners:
                raise ConfigError(f"the name {name!r} is given to both {owners[name]} and {model.id}")
            owners[name] = model.id
