"""What the user may set: on the command line, in ``hotbunk.toml``, per model."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from hotbunk.errors import ConfigError
from hotbunk.placement import MOST_SLOTS
from hotbunk.units import exact_size, parse_duration, parse_size

__all__ = ["Config", "DeviceConfig", "ModelConfig", "SamplingDefaults", "SloConfig", "dump", "load"]


def _read_size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _read_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _read_path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) else value


def _read_auto(value: object) -> object:
    return None if value == "auto" else value


def _check_origin(value: str) -> str:
    if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\sA-Z]+", value):
        raise ValueError("an origin is like http://localhost:3000, in small letters and without a path, or '*' for all")
    return value


def _read_names(value: object) -> object:
    return [value] if isinstance(value, str) else value


Bytes = Annotated[int, Field(gt=0), BeforeValidator(_read_size), PlainSerializer(exact_size)]
Store = Annotated[
    Annotated[int, Field(ge=0), BeforeValidator(_read_size), PlainSerializer(exact_size)] | None,
    BeforeValidator(_read_auto),
]
Budget = Annotated[Bytes | None, BeforeValidator(_read_auto)]
Seconds = Annotated[
    float, Field(gt=0), BeforeValidator(_read_duration), PlainSerializer(lambda value: f"{value:.12g}s")
]
File = Annotated[Path, BeforeValidator(_read_path), PlainSerializer(str)]
Names = Annotated[list[str], BeforeValidator(_read_names)]
Origins = Annotated[list[Annotated[str, AfterValidator(_check_origin)]], BeforeValidator(_read_names)]
Count = Annotated[int, Field(gt=0)]
Slots = Annotated[int, Field(gt=0, le=MOST_SLOTS)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SamplingDefaults(_Section):
    """How tokens are drawn where a request does not say; None leaves it to the next default."""

    temperature: float | None = Field(default=None, ge=0, le=10)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, gt=0)
    repeat_last_n: int | None = Field(default=None, ge=-1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=0)


class SloConfig(_Section):
    """What users are promised, in seconds: the time to the first token, and from token to token."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None


class DeviceConfig(_Section):
    """One device: ``cpu``, a GPU by libllama's name, or ``rpc:HOST:PORT``. A budget of None is worked out at start."""

    name: str
    budget: Budget = None
    threads: Count | None = None


class ModelConfig(_Section):
    """What is particular to one model. Without ``path`` it is the file of that name among the paths."""

    path: File | None = None
    alias: Names = []
    context: Count | None = None
    slots: Slots | None = None
    priority: int = 0
    keep_resident: bool = False
    device: str | None = None
    layers: int | None = Field(default=None, ge=0)
    slo: SloConfig = SloConfig()
    sampling: SamplingDefaults = SamplingDefaults()


class Config(_Section):
    """All settings. ``context`` is in tokens for each slot; None means the trained length, 8192 at most.

    ``device``, ``budget`` and ``threads`` describe the one device, unless ``devices`` lists several. ``host_memory`` is
    for the host store, the copies of weights in pinned memory (0: none), and ``arena`` for suspended sequences in
    pinned memory; devices share both evenly, and None leaves them to hotbunk. ``held_memory`` bounds the state of
    suspended sequences in ordinary memory; what is more goes to files in ``spill_dir``. ``store`` is the file of what
    was measured (None: in the user's data), and ``measure`` whether a machine that it does not know is measured at
    start. ``quantum`` is how long a turn of the policy ``timeslice`` lasts while others wait, and the longest that the
    others leave a model in spite of them for having come at all; ``max_wait`` is the bound on waiting, ``hang_after``
    how long one operation of a worker may last before it counts as hung, all in seconds. ``cors_origins`` are the
    origins whose pages may ask from a browser, besides the server's own.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    cors_origins: Origins = []
    device: str = "auto"
    budget: Budget = None
    threads: Count | None = None
    policy: str = "priced"
    quantum: Seconds = 2.0
    max_wait: Seconds = 120.0
    max_queue: Count = 512
    hang_after: Seconds = 600.0
    host_memory: Store = None
    arena: Store = None
    held_memory: Bytes = 4 << 30
    spill_dir: File | None = None
    store: File | None = None
    measure: bool = True
    paths: Annotated[list[File], BeforeValidator(_read_names)] = []
    context: Count | None = None
    slots: Slots = 4
    slo: SloConfig = SloConfig()
    sampling: SamplingDefaults = SamplingDefaults()
    devices: list[DeviceConfig] = []
    models: dict[str, ModelConfig] = {}

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.devices and (self.device != "auto" or self.budget is not None):
            raise ValueError("give either device and budget, or a list of devices with a budget each, not both")
        names = [device.name for device in self.all_devices]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"device {name!r} is listed twice")
        for name, model in self.models.items():
            if model.device is not None and model.device not in names:
                raise ValueError(f"models.{name}.device = {model.device!r}: the devices are {', '.join(names)}")
        if self.quantum > self.max_wait:
            raise ValueError(f"quantum ({self.quantum:g}s) must not be longer than max_wait ({self.max_wait:g}s)")
        return self

    @property
    def all_devices(self) -> list[DeviceConfig]:
        """The devices to use, one worker each, every one with its threads if any were set."""
        if not self.devices:
            return [DeviceConfig(name=self.device, budget=self.budget, threads=self.threads)]
        return [device.model_copy(update={"threads": device.threads or self.threads}) for device in self.devices]


def load(file: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """Read the configuration file, if any, and put the command line's ``overrides`` (by key, as text) over it.

    Relative paths in the file are relative to the file.

    Raises:
        ConfigError: the file cannot be read or a value is wrong; names the file or option, the key and the value.
    """
    overrides = overrides or {}
    values = _read(file) if file else {}
    try:
        config = Config.model_validate({**values, **overrides})
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, file, overrides) for e in error.errors())) from error
    return _anchored(config, file, overrides)


def dump(config: Config) -> str:
    """Write a configuration as TOML; loading it gives the same configuration again."""
    return tomli_w.dumps(_without_empty(config.model_dump(exclude_none=True)))


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error


def _explain(error: ErrorDetails, file: Path | None, overrides: Mapping[str, object]) -> str:
    location = [str(part) for part in error["loc"]]
    message = error["msg"].removeprefix("Value error, ")
    if not location:
        return f"{file}: {message}" if file else message
    if error["type"] == "extra_forbidden":
        message = f"no such key{_nearest(location)}"
    if location[0] in overrides:
        return f"--{location[0].replace('_', '-')} {error['input']}: {message}"
    return f"{file}: {'.'.join(location)} = {error['input']!r}: {message}"


def _nearest(location: list[str]) -> str:
    sections: dict[str, type[BaseModel]] = {
        "models": ModelConfig,
        "devices": DeviceConfig,
        "sampling": SamplingDefaults,
        "slo": SloConfig,
    }
    inside = [sections[part] for part in location[:-1] if part in sections]
    known = list((inside[-1] if inside else Config).model_fields)
    close = difflib.get_close_matches(location[-1], known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"


def _anchored(config: Config, file: Path | None, overrides: Mapping[str, object]) -> Config:
    """Make paths absolute: the file's from its folder, the command line's from the working directory."""
    here = Path.cwd()
    home = here / file.parent if file else here

    def anchor(key: str, path: Path) -> Path:
        return (here if key in overrides else home) / path

    models = {
        name: model.model_copy(update={"path": anchor("models", model.path)}) if model.path else model
        for name, model in config.models.items()
    }
    changes: dict[str, Any] = {"models": models, "paths": [anchor("paths", path) for path in config.paths]}
    for key in ("spill_dir", "store"):
        if path := getattr(config, key):
            changes[key] = anchor(key, path)
    return config.model_copy(update=changes)


def _without_empty(value: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty(item) if isinstance(item, dict) else item for key, item in value.items()}
    return {key: item for key, item in kept.items() if item not in ({}, [])}
