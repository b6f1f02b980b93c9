"""A device profile of what ``hotbunk profile`` has stored."""

from __future__ import annotations

from hotbunk.costs.store import Known, Store
from hotbunk.errors import ConfigError
from hotbunk.simulator.moving import Restart
from hotbunk.simulator.profile import Profile, Profiled

__all__ = ["stored"]

START = 1.0
"""Seconds that a peer's process takes to start besides reading its weights; 0.9 s were measured on an H100's host."""


def stored(store: Store, device: str = "") -> Profile:
    """The latest machine whose device's name has ``device`` in it.

    Raises:
        ConfigError: there is none, or its roofline is missing.
    """
    known = [each for each in store.known() if device.lower() in each.machine.device.lower()]
    if not known:
        what = f" of a device like {device!r}" if device else ""
        raise ConfigError(f"{store.path}: there is no profile{what}; make one with hotbunk profile")
    machine = known[-1].machine
    roofline = store.roofline(machine)
    if roofline is None:
        raise ConfigError(f"{store.path}: {machine.device} has no roofline; run hotbunk profile on it once more")
    models = {each.name: _profiled(store, each) for each in known if each.machine == machine}
    note = f"profiled: {machine.device}, {machine.cpu}, {machine.threads} threads, {machine.libllama}"
    restart = Restart(START, roofline.h2d_pageable)
    # how much memory a machine has is not part of what its figures hold for
    return Profile(machine.device, note, True, 0, 0, roofline, restart, models)


def _profiled(store: Store, known: Known) -> Profiled:
    costs = store.costs(known.machine, known.model, known.anatomy)
    assert costs  # there is a roofline
    return Profiled(known.anatomy, {kind: fit for kind, fit in costs.fits.items() if fit.count})
