"""The command line's manners: versions, usage, errors in one line, the printed configuration."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hotbunk.__main__
from hotbunk.cli import main
from hotbunk.cli.study import experiments
from hotbunk.config import load
from hotbunk.errors import INTERRUPTED


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hotbunk", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


def test_version() -> None:
    done = subprocess.run([sys.executable, "-m", "hotbunk", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"hotbunk {hotbunk.__version__}\n"


def test_wrong_usage_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(monkeypatch, "models") == 2
    assert call(monkeypatch, "srve") == 2


def broken_off(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_broken_off_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiments, "make_report", broken_off)
    assert call(monkeypatch, "study", "report", tmp_path) == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "stopped\n")


def test_what_is_broken_off_while_it_is_read_in_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = ModuleType("hotbunk.cli")
    module.__getattr__ = broken_off  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "hotbunk.cli", module)
    with pytest.raises(SystemExit) as ended:
        hotbunk.__main__.main()
    assert ended.value.code == INTERRUPTED
    assert capsys.readouterr() == ("", "stopped\n")


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (["plan", "m.gguf"], "--context", 1),
        *((command, "--slots", 300) for command in (["plan", "m.gguf"], ["profile"], ["models", "."])),
    ],
)
def test_what_libllama_cannot_do_is_refused_early(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], option: str, value: int
) -> None:
    assert call(monkeypatch, *command, option, value) == 2
    said = capsys.readouterr().err
    assert option in said and "than or equal to" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models", "/absent"), "/absent: no such file or folder"),
        (("models", ".", "--budget", "6G"), "--budget 6G: not a size; write it like 6GiB, 500MB or 4096 (bytes)"),
        (("serve", "--port", 70000, "--print-config"), "--port 70000: Input should be less than or equal to 65535"),
        (("serve", "--slots", 300, "--print-config"), "--slots 300: Input should be less than or equal to 256"),
        (("serve", "--config", "/absent.toml"), "/absent.toml: cannot be read: No such file or directory"),
    ],
)
def test_what_hotbunk_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    assert call(monkeypatch, *arguments) == 1
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"hotbunk: error: {said}\n")


def test_the_printed_configuration_is_the_effective_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, printed = tmp_path / "hotbunk.toml", tmp_path / "printed.toml"
    file.write_text('port = 1\n[models.tiny]\nalias = "t"\nsampling = { temperature = 0.5 }')
    options: list[object] = [
        "--budget",
        "6GiB",
        "--policy",
        "fifo",
        "--max-wait",
        "1m",
        "--slots",
        2,
        "--spill-dir",
        tmp_path,
    ]
    options += ["--store", tmp_path / "costs.sqlite", "--no-measure"]
    options += ["--cors-origins", "http://a.org", "--cors-origins", "http://b.org"]
    assert call(monkeypatch, "serve", tmp_path, "--config", file, *options, "--print-config") == 0
    printed.write_text(capsys.readouterr().out)
    config = load(printed)
    assert (config.port, config.budget, config.policy, config.max_wait, config.slots) == (1, 6 << 30, "fifo", 60, 2)
    assert config.paths == [tmp_path]
    assert config.models["tiny"].alias == ["t"]
    assert config == load(
        file,
        {
            **{k: getattr(config, k) for k in ("budget", "policy", "max_wait", "slots")},
            "cors_origins": ["http://a.org", "http://b.org"],
            "paths": [tmp_path],
            "spill_dir": tmp_path,
            "store": tmp_path / "costs.sqlite",
            "measure": False,
        },
    )
