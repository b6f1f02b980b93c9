"""Which of all that a store holds ``hotbunk profile --show`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Known, Store
from hotbunk.errors import ConfigError, UnusableModel
from hotbunk.llama.gguf import find, read, stem

__all__ = ["chosen"]


def chosen(kept: Store, models: Sequence[Path], device: str) -> tuple[dict[Machine, Roofline | None], list[Known]]:
    """Machines, and models on them: those named, or in these files; all where none are. ``device`` auto: all.

    A device is named as on the command line, as far as the store tells, or by a part of its name there.

    Raises:
        ConfigError: the store holds nothing of one of them, or cannot be used.
    """
    machines, known = kept.machines(), kept.known()
    if device != "auto":
        machines = {here: line for here, line in machines.items() if _is(here, device)}
        if not machines:
            there = ", ".join(sorted({here.device for here in kept.machines()})) or "none"
            raise ConfigError(f"--device {device}: {kept.path} holds nothing of such a device; those it knows: {there}")
        known = [each for each in known if each.machine in machines]
    if not models:
        return machines, known
    wanted = list[Known]()
    for path in models:
        if not (found := _of(path, known)):
            there = ", ".join(sorted({each.name for each in known})) or "none"
            what = "what is in it" if _there(path) else "this model"
            raise ConfigError(f"{path}: {kept.path} holds nothing of {what}; those it knows: {there}")
        wanted += found
    known = [each for each in known if each in wanted]
    return {here: line for here, line in machines.items() if any(each.machine == here for each in known)}, known


def _is(here: Machine, device: str) -> bool:
    if device == "cpu":
        return here.device == here.cpu
    return device.removeprefix("rpc:").lower() in here.device.lower()


def _of(path: Path, known: Sequence[Known]) -> list[Known]:
    """Those of a file or folder, whatever they were called when they were profiled; what is neither is a name."""
    if _there(path):
        contents = set(_contents(path))
        return [each for each in known if each.model in contents]
    names = {str(path), stem(path)} if path.suffix == ".gguf" else {str(path)}
    return [each for each in known if each.name in names]


def _there(path: Path) -> bool:
    return path.expanduser().exists()


def _contents(path: Path) -> Iterator[str]:
    for file in find([path]):
        with suppress(UnusableModel, OSError):  # nothing can be known of it
            yield content(read(file).files)
