"""Which files are served under which names."""

from pathlib import Path
from typing import Any

import pytest

from hotbunk.config import Config
from hotbunk.costs.rates import Promise
from hotbunk.errors import ConfigError
from hotbunk.models import served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.gguf", "b.gguf", "deep/a.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def config(**values: Any) -> Config:
    return Config.model_validate(values)


def test_names_come_from_files_or_the_configuration(folder: Path) -> None:
    models = served(
        config(
            paths=[folder],
            slots=3,
            sampling={"top_k": 5, "temperature": 1},
            slo={"ttft": "5s"},
            models={
                "deep": {"path": folder / "deep/a.gguf", "alias": "d", "context": 64, "slots": 1},
                "b": {"priority": 1, "sampling": {"top_k": 7}, "slo": {"ttft": "30s", "tpot": "50ms"}},
                "huge": {"path": folder / "big-00002-of-00002.gguf"},
            },
        )
    )
    assert [(m.id, m.path.name, m.alias, m.context, m.slots, m.priority) for m in models] == [
        ("a", "a.gguf", (), None, 3, 0),
        ("b", "b.gguf", (), None, 3, 1),
        ("deep", "a.gguf", ("d",), 64, 1, 0),
        ("huge", "big-00001-of-00002.gguf", (), None, 3, 0),
    ]
    assert models[0].sampling == {"top_k": 5, "temperature": 1}
    assert models[1].sampling == {"top_k": 7, "temperature": 1}
    assert (models[0].promise, models[1].promise) == (Promise(5.0, 0.1), Promise(30.0, 0.05))


def test_the_context_is_configured_or_the_trained_one_up_to_8192(folder: Path) -> None:
    model, *_ = served(config(paths=[folder / "a.gguf"]))
    assert (model.tokens(2048), model.tokens(131_072)) == (2048, 8192)
    model, *_ = served(config(paths=[folder / "a.gguf"], context=10_000))
    assert model.tokens(131_072) == 10_000


def test_two_files_of_one_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"two files are called 'a': .*; name one in the configuration"):
        served(config(paths=[folder]))


def test_nothing_to_serve() -> None:
    with pytest.raises(ConfigError, match="no model to serve"):
        served(config())


def test_a_configured_model_without_a_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.c: no such file; set its path, or take one of a, b"):
        served(config(paths=[folder / "a.gguf", folder / "b.gguf"], models={"c": {}}))


def test_an_alias_given_twice(folder: Path) -> None:
    with pytest.raises(ConfigError, match="the name 'b' is given to both a and b"):
        served(config(paths=[folder / "a.gguf", folder / "b.gguf"], models={"a": {"alias": "b"}}))
