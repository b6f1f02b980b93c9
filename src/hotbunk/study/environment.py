"""Where and with what a study was made: figures hold for that machine alone."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import hotbunk
from hotbunk.costs.fingerprint import Machine
from hotbunk.errors import ConfigError
from hotbunk.measure.machine import machine
from hotbunk.study.results import FORMAT, Results, Row
from hotbunk.worker.protocol import Hello

__all__ = ["check_in", "describe", "enter", "same_machine", "same_models"]


def describe(hello: Hello) -> Row:
    """The machine, the versions and the command. Memory in bytes."""
    return {
        "format": FORMAT,
        **asdict(machine(hello)),
        "device_memory": hello.memory_total,
        "host_memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "moves": hello.moves,
        "hotbunk": hotbunk.__version__,
        "python": platform.python_version(),
        "system": f"Linux {platform.release()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "matplotlib", "pyarrow")),
        "command": _command(),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _command() -> str:
    """What was typed, with what is not UTF-8 replaced: the tables and the page could not hold it."""
    words = [Path(sys.argv[0]).name.replace("__main__.py", "hotbunk"), *sys.argv[1:]]
    return os.fsencode(shlex.join(words)).decode(errors="replace")


def check_in(results: Results, hello: Hello) -> None:
    """Note this run among the results, once for each command.

    Raises:
        ConfigError: they come from another machine, or from other versions.
    """
    now, before = describe(hello), results.rows("sessions")
    if before and (others := _machine(before[-1]).differences(machine(hello))):
        raise ConfigError(f"{results.folder}: its results come from another set-up ({others}); give another --out")
    if not before or before[-1]["command"] != now["command"]:
        results.add("sessions", [now])


def same_machine(results: Results, others: Results) -> None:
    """Check that two folders of results may be brought together.

    Raises:
        ConfigError: they come from different machines, or versions.
    """
    here, there = results.rows("sessions"), others.rows("sessions")
    if here and there and (differences := _machine(here[-1]).differences(_machine(there[-1]))):
        raise ConfigError(f"{results.folder} and {others.folder} come from different set-ups ({differences})")


def enter(results: Results, model: Row) -> None:
    """Note a model among the results, once.

    Raises:
        ConfigError: there are results of another one with its name.
    """
    if before := results.rows("models", model=model["model"]):
        if _differ(before[0], model):
            raise ConfigError(
                f"{results.folder}: its results of {model['model']} come from another file of that name; give another "
                "--out, or rename the file"
            )
    else:
        results.add("models", [model])


def same_models(results: Results, others: Results) -> None:
    """Check that models of one name are the same in two folders of results.

    Raises:
        ConfigError: one is not.
    """
    for row in others.rows("models"):
        if any(_differ(before, row) for before in results.rows("models", model=row["model"])):
            raise ConfigError(
                f"{results.folder} and {others.folder} come from different files named {row['model']}; make a report "
                "of each"
            )


def _differ(row: Row, other: Row) -> bool:
    """Whether two models of one name are not the same file; earlier versions did not note what was in it."""
    mine, others = row.get("content"), other.get("content")
    return bool(mine and others and mine != others)


def _machine(row: Row) -> Machine:
    return Machine(**{each.name: row[each.name] for each in fields(Machine)})
