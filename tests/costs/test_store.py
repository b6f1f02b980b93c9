"""The store: figures are kept at once, and never used where they do not hold."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.costs.anatomy import Anatomy
from hotbunk.costs.dissect import dissect
from hotbunk.costs.fingerprint import Machine, content
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import Roofline, Side
from hotbunk.costs.store import Store, default_path
from hotbunk.errors import ConfigError
from hotbunk.llama.gguf import read
from hotbunk.placement import Footprint, Placement

HERE = Machine("H100", "580.1", "Xeon", 16, 15, "0.3.36")
SIDE = Side({"F16": 1e12}, {"F16": 1e14}, 5e12, 2e-6, 1e-5)
ROOFLINE = Roofline(SIDE, SIDE, 5e10, 5e10, 7e9, 1e10, 4e10, True)
RECORD = Record(Kind.DECODE, Placement(3, 512, 2, Footprint(10, 20, 30)), 0.25, sequences=2, tokens=100, check=True)


@pytest.fixture
def anatomy(kquant: Path) -> Anatomy:
    return dissect(read(kquant), "tiny")


def test_what_was_added_is_there_after_a_new_start(tmp_path: Path, anatomy: Anatomy) -> None:
    path = tmp_path / "folder" / "costs.sqlite"
    first = Store(path)
    first.add(HERE, "abc", "tiny", anatomy, RECORD)  # and never closed, as after a kill
    with Store(path) as store:
        assert store.records(HERE, "abc") == [RECORD]
        [known] = store.known()
        assert (known.machine, known.model, known.name, known.count) == (HERE, "abc", "tiny", 1)
        assert known.anatomy == anatomy
    first.close()


def test_costs_need_the_machine_to_be_known(tmp_path: Path, anatomy: Anatomy) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        store.add(HERE, "abc", "tiny", anatomy, replace(RECORD, check=False))
        assert store.costs(HERE, "abc", anatomy) is None
        store.keep_roofline(HERE, ROOFLINE)
        costs = store.costs(HERE, "abc", anatomy)
        assert costs and costs.fits[Kind.DECODE].count == 1
        assert store.roofline(HERE) == ROOFLINE


def test_figures_of_another_machine_or_content_are_not_used_and_it_is_said_why(
    tmp_path: Path, anatomy: Anatomy
) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        store.keep_roofline(HERE, ROOFLINE)
        store.add(HERE, "abc", "tiny", anatomy, RECORD)
        other = replace(HERE, driver="590.2", threads=16)
        assert store.records(other, "abc") == store.records(HERE, "xyz") == []
        assert store.roofline(other) is None
        assert "driver 580.1 -> 590.2, threads 15 -> 16" in store.near(other, "abc", "tiny")
        assert "its file has changed" in store.near(HERE, "xyz", "tiny")
        assert store.near(HERE, "abc", "tiny") == store.near(HERE, "xyz", "other") == ""
        store.add(other, "abc", "tiny", anatomy, RECORD)
        assert store.near(other, "abc", "tiny") == store.near(HERE, "abc", "tiny") == ""


def test_a_roofline_from_before_there_were_quick_ones_is_read(tmp_path: Path) -> None:
    path = tmp_path / "costs.sqlite"
    with Store(path) as store:
        store.keep_roofline(HERE, replace(ROOFLINE, quick=True))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE machines SET roofline = json_remove(roofline, '$.quick')")
    with Store(path) as store:
        assert store.roofline(HERE) == ROOFLINE


def test_a_store_of_a_newer_hotbunk_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "costs.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match=r"newer hotbunk \(format 99, this one knows 4\).*--store"):
        Store(path)


@pytest.mark.parametrize(
    ("version", "line", "kinds"),
    [
        (1, None, [Kind.DECODE]),
        (2, ROOFLINE, [Kind.DECODE, Kind.UNLOAD]),
        (3, ROOFLINE, [Kind.DECODE, Kind.UNLOAD, Kind.PREFILL]),
    ],
)
def test_of_an_older_store_what_still_holds_is_kept(
    tmp_path: Path, anatomy: Anatomy, version: int, line: Roofline | None, kinds: list[Kind]
) -> None:
    path = tmp_path / "costs.sqlite"
    with Store(path) as store:
        store.keep_roofline(HERE, ROOFLINE)
        for kind in (Kind.DECODE, Kind.LOAD, Kind.UNLOAD, Kind.PREFILL):
            store.add(HERE, "abc", "tiny", anatomy, replace(RECORD, kind=kind))
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {version}")
    for _ in range(2):
        with Store(path) as store:
            assert store.roofline(HERE) == line
            assert store.records(HERE, "abc") == [replace(RECORD, kind=kind) for kind in kinds]


@pytest.mark.parametrize("version", [0, 2])
def test_what_another_process_does_to_a_store_meanwhile_is_not_done_again(
    tmp_path: Path, anatomy: Anatomy, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made, or brought up to date, after this one has looked at it; and then used."""
    path, look = tmp_path / "costs.sqlite", Store._version
    if version:
        Store(path).close()
        with sqlite3.connect(path) as database:
            database.execute(f"PRAGMA user_version = {version}")

    def looked(store: Store) -> int:
        found = look(store)
        monkeypatch.undo()
        with Store(path) as other:
            other.add(HERE, "abc", "tiny", anatomy, replace(RECORD, kind=Kind.PREFILL))
        return found

    monkeypatch.setattr(Store, "_version", looked)
    with Store(path) as store:
        assert [record.kind for record in store.records(HERE, "abc")] == [Kind.PREFILL]


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    text, foreign = tmp_path / "text", tmp_path / "foreign.sqlite"
    text.write_text("nothing of the kind, but long enough to be looked at" * 20)
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE cats (name TEXT)")
    with pytest.raises(ConfigError, match=r"cannot be used: file is not a database; name another"):
        Store(text)
    with pytest.raises(ConfigError, match="a database of something else"):
        Store(foreign)
    with pytest.raises(ConfigError, match="cannot be used"):
        Store(tmp_path / "text" / "below")


def test_a_full_disk_is_said_in_a_sentence_and_loses_nothing(tmp_path: Path, anatomy: Anatomy) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        store.add(HERE, "abc", "tiny", anatomy, RECORD)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ConfigError, match=r"disk is full; what was measured before is kept: make room, or name"):
            for _ in range(1000):
                store.add(HERE, "abc", "tiny", anatomy, RECORD)
        assert store.records(HERE, "abc")[0] == RECORD


@pytest.mark.parametrize(
    ("damage", "asked"),
    [
        ("UPDATE machines SET roofline = '{\"device\": 1}'", lambda store: store.roofline(HERE)),
        ("UPDATE machines SET roofline = '{'", lambda store: store.roofline(HERE)),
        ("UPDATE machines SET machine = '[]'", lambda store: store.machines()),
        ("UPDATE records SET record = ''", lambda store: store.records(HERE, "abc")),
        ("UPDATE models SET anatomy = 'x'", lambda store: store.known()),
    ],
)
def test_a_damaged_store_is_said_in_a_sentence(
    tmp_path: Path, anatomy: Anatomy, damage: str, asked: Callable[[Store], object]
) -> None:
    path = tmp_path / "costs.sqlite"
    with Store(path) as store:
        store.keep_roofline(HERE, ROOFLINE)
        store.add(HERE, "abc", "tiny", anatomy, RECORD)
    with sqlite3.connect(path) as database:
        database.execute(damage)
    with Store(path) as store, pytest.raises(ConfigError, match=rf"the store {path} is damaged: .*; move it away"):
        asked(store)


def test_a_store_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "typo" / "costs.sqlite"
    with pytest.raises(ConfigError, match=f"there is no store {path}"):
        Store(path, make=False)
    assert not path.parent.exists()


def test_a_store_in_a_folder_that_cannot_be_written_to_is_read(
    tmp_path: Path, anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who run tests may be root, to whom no folder is closed: SQLite fails as it does for others."""
    path, connect = tmp_path / "a #1?" / "costs.sqlite", sqlite3.connect
    with Store(path) as store:
        store.add(HERE, "abc", "tiny", anatomy, RECORD)

    def connected(name: str, timeout: float, uri: bool) -> sqlite3.Connection:
        if not uri:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(name, timeout, uri=True)

    monkeypatch.setattr(sqlite3, "connect", connected)
    with pytest.raises(ConfigError, match="unable to open database file"):
        Store(path, make=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store(path, make=False) as store:
        assert store.records(HERE, "abc") == [RECORD]
        with pytest.raises(ConfigError, match="attempt to write a readonly database"):
            store.add(HERE, "abc", "tiny", anatomy, RECORD)


def test_the_store_lies_in_the_users_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "hotbunk" / "costs.sqlite"


def test_models_are_told_apart_by_their_content_alone(kquant: Path, smollm2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(kquant.read_bytes())
    assert content(read(copy).files) == content(read(kquant).files) != content(read(smollm2).files)
    with copy.open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"changed")
    assert content(read(copy).files) != content(read(kquant).files)


def test_machines_differ_by_any_part(tmp_path: Path) -> None:
    assert HERE.key == replace(HERE).key != replace(HERE, libllama="0.3.37").key
