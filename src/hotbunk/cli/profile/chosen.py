"""Which of all that a store holds ``hotbunk profile --show`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.roofline import Roofline
from hotbunk.costs.store import Known, Store
from hotbunk.errors import ConfigError
from hotbunk.llama.gguf import find, stem

__all__ = ["chosen"]


def chosen(kept: Store, models: Sequence[Path], device: str) -> tuple[dict[Machine, Roofline | None], list[Known]]:
    """Machines, and models on them: those named, or whose files are; all where none are. ``device`` auto: all.

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
    wanted = set[str]()
    for path in models:
        names = _names(path)
        if names.isdisjoint(each.name for each in known):
            there = ", ".join(sorted({each.name for each in known})) or "none"
            raise ConfigError(f"{path}: {kept.path} holds nothing of this model; those it knows: {there}")
        wanted |= names
    known = [each for each in known if each.name in wanted]
    return {here: line for here, line in machines.items() if any(each.machine == here for each in known)}, known


def _is(here: Machine, device: str) -> bool:
    if device == "cpu":
        return here.device == here.cpu
    return device.removeprefix("rpc:").lower() in here.device.lower()


def _names(path: Path) -> set[str]:
    """A file's or folder's, as profiling would name them; what is neither is a name itself."""
    if path.expanduser().exists():
        return {stem(file) for file in find([path])}
    return {str(path), stem(path)} if path.suffix == ".gguf" else {str(path)}
