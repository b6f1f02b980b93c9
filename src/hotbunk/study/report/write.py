"""The report as one page that needs nothing else, and as text; from whatever results there are."""

from __future__ import annotations

from pathlib import Path

from hotbunk.extras import needs
from hotbunk.report.curves import groups
from hotbunk.report.page import Page, Section, Table, Text
from hotbunk.report.render import html, text
from hotbunk.report.words import figure, listed, percent
from hotbunk.study import paper
from hotbunk.study.report import offload, preemption, scaling, sweep
from hotbunk.study.results import Results, Row
from hotbunk.units import brief_size

__all__ = ["sections", "write"]

_NAME = "hotbunk study"
_TITLE = "Offloading and preemption of language models, measured"
_INTRO = (
    "What it costs to keep a model partly on the device, and to interrupt one model for another. Bands reach from the "
    "least to the greatest of the repeats."
)
_SOURCE = f"The study that is repeated here: {paper.CITATION}."
_PARTS = (
    offload.section,
    preemption.section,
    scaling.together,
    scaling.contexts,
    scaling.bandwidth,
)


def write(results: Results) -> list[Path]:
    """Write ``report.html``, ``summary.txt`` and all tables; returns the files.

    Raises:
        ConfigError: they cannot be written, or a package of the ``study`` extra is missing.
    """
    needs("matplotlib", "pyarrow")
    tables = results.export()
    found = sections(results)
    models = _models(results)
    page = Page(_NAME, _TITLE, _INTRO, found, _about(results), [models] if models else [], _SOURCE)
    # both are made before either is written: one of them must not be newer than the other
    made = {"report.html": html(page), "summary.txt": text(page)}
    return [*(results.text(name, whole) for name, whole in made.items()), *tables]


def sections(results: Results) -> list[Section]:
    """All parts for which there are results."""
    return [part for make in (*_PARTS, _profile, _notes) if (part := make(results))]


def _about(results: Results) -> list[tuple[str, str]]:
    """The machine, the versions and the commands, by name."""
    sessions = results.rows("sessions")
    if not sessions:
        return []
    times = [row["at"] for row in sessions]
    told = [(name, tell(row)) for name, tell in _ABOUT.items() for row in sessions]
    return [
        *dict.fromkeys(told),
        ("when", " to ".join(dict.fromkeys((min(times), max(times))))),
        *(("command", row["command"]) for row in sessions),
    ]


def _device(row: Row) -> str:
    driver = f", driver {row['driver']}" if row["driver"] else ""
    return f"{row['device']}, {brief_size(row['device_memory'])}{driver}"


def _host(row: Row) -> str:
    return f"{row['cpu']}, {row['cores']} cores, {brief_size(row['host_memory'])}; {row['threads']} threads"


def _software(row: Row) -> str:
    return f"hotbunk {row['hotbunk']}, {row['libllama']}, Python {row['python']}, {row['packages']}"


def _system(row: Row) -> str:
    return str(row["system"])


_ABOUT = {"device": _device, "host": _host, "software": _software, "system": _system}
"""What the sessions tell, each thing once: those of one machine may still have another host's memory, or Python."""


def _models(results: Results) -> Table | None:
    rows = [
        [
            row["model"],
            f"{row['architecture']}, {row['type']}",
            str(row["layers"]),
            brief_size(row["weights"]),
            brief_size(int(row["read"])),
            percent(row["head"] / row["read"]),
            brief_size(1000 * row["kv_token"]),
        ]
        for row in results.rows("models")
    ]
    columns = ("model", "kind", "layers", "weights", "read for a token", "of it the head", "KV, 1,000 tokens")
    return Table("Models", columns, rows) if rows else None


def _profile(results: Results) -> Section | None:
    """Held-out errors of the cost models, where models were profiled along with the study."""
    found = groups(results.rows("profile"), lambda row: (row["model"], row["how"]))
    if not found:
        return None
    kinds = list(dict.fromkeys(row["kind"] for row in results.rows("profile")))
    rows = []
    for (model, how), part in found.items():
        cells = {row["kind"]: f"{percent(row['error'])} ({row['points']})" for row in part}
        rows.append([f"{model}, {how}", figure(part[0]["seconds"]), *(cells.get(kind, "") for kind in kinds)])
    caption = "Mean absolute relative error at points that no model was fitted to (how many)."
    table = Table("Held-out errors of the cost models", ("model", "seconds", *kinds), rows, caption)
    return Section("costs", "Cost models", "", [table])


def _notes(results: Results) -> Section | None:
    texts = [Text(f"{about}: {text}") for about, text in results.notes.items()]
    for model in sweep.models(results):
        if lengths := model.unreached:
            texts.append(Text(f"{model.name}: outputs of {listed([f'{n:,}' for n in lengths])} tokens, not reached"))
    return Section("notes", "What was left out", "", texts) if texts else None
