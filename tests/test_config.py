"""The configuration: what is read, refused and printed."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hotbunk.config import Config, DeviceConfig, dump, load
from hotbunk.errors import ConfigError

EVERYTHING = """
host = "0.0.0.0"
port = 9000
cors_origins = ["http://localhost:3000", "null"]
threads = 3
policy = "fifo"
quantum = "1500ms"
max_wait = "2m"
max_queue = 7
host_memory = 0
arena = "2GiB"
held_memory = "500MB"
spill_dir = "spill"
store = "costs.sqlite"
measure = false
paths = ["models", "/srv/one.gguf"]
context = 4096
slots = 2

[sampling]
temperature = 0.6
top_k = 20

[[devices]]
name = "CUDA0"
budget = "6GiB"

[[devices]]
name = "cpu"
threads = 1

[models."tiny.v1"]
path = "elsewhere/a.gguf"
alias = "tiny"
context = 512
slots = 8
priority = 2
keep_resident = true
device = "cpu"
layers = 3
sampling = { seed = 1, temperature = 0 }

[models.other]
alias = ["a", "b"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hotbunk.toml"


def refusal(file: Path | None, text: str = "", overrides: Mapping[str, object] | None = None) -> str:
    if file:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, overrides)
    return str(caught.value)


def test_defaults() -> None:
    config = load(None)
    assert (config.host, config.port, config.policy) == ("127.0.0.1", 8080, "priced")
    assert (config.quantum, config.max_wait, config.max_queue, config.slots) == (2, 120, 512, 4)
    assert config.all_devices == [DeviceConfig(name="auto")]
    assert (config.host_memory, config.arena) == (None, None)
    assert (config.store, config.measure) == (None, True)


def test_everything(file: Path) -> None:
    file.write_text(EVERYTHING)
    config = load(file)
    assert (config.quantum, config.max_wait, config.held_memory) == (1.5, 120, 500_000_000)
    assert (config.host_memory, config.arena) == (0, 2 << 30)
    assert config.paths == [file.parent / "models", Path("/srv/one.gguf")]
    assert config.spill_dir == file.parent / "spill"
    assert config.cors_origins == ["http://localhost:3000", "null"]
    assert (config.store, config.measure) == (file.parent / "costs.sqlite", False)
    assert [(d.name, d.budget, d.threads) for d in config.all_devices] == [("CUDA0", 6 << 30, 3), ("cpu", None, 1)]
    tiny = config.models["tiny.v1"]
    assert tiny.path == file.parent / "elsewhere/a.gguf"
    assert (tiny.alias, tiny.context, tiny.slots, tiny.priority) == (["tiny"], 512, 8, 2)
    assert (tiny.keep_resident, tiny.device, tiny.layers) == (True, "cpu", 3)
    assert (tiny.sampling.seed, tiny.sampling.temperature) == (1, 0)
    assert config.models["other"].alias == ["a", "b"]


@pytest.mark.parametrize("text", ["", EVERYTHING, 'budget = "auto"\nhost_memory = "auto"\nquantum = 0.1'])
def test_the_printed_configuration_is_the_same_one(file: Path, tmp_path: Path, text: str) -> None:
    file.write_text(text)
    config = load(file)
    printed = tmp_path / "elsewhere" / "printed.toml"
    printed.parent.mkdir()
    printed.write_text(dump(config))
    assert load(printed) == config


def test_the_command_line_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('port = 1\nslots = 3\npaths = ["a"]')
    monkeypatch.chdir("/")
    config = load(file, {"port": 2, "budget": "1GiB", "paths": [Path("b")]})
    assert (config.port, config.slots, config.budget, config.paths) == (2, 3, 1 << 30, [Path("/b")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('port = "x"', "port = 'x': Input should be a valid integer"),
        ("port = 65536", "port = 65536: Input should be less than or equal to 65535"),
        ('cors_origins = "localhost"', "cors_origins.0 = 'localhost': an origin is like http://localhost:3000"),
        ('cors_origins = ["http://a.org/"]', "in small letters and without a path, or '*' for all"),
        ("prot = 1", "prot = 1: no such key; did you mean 'port'?"),
        ("[models.a]\ncontxt = 1", "models.a.contxt = 1: no such key; did you mean 'context'?"),
        ("[sampling]\nx = 1", "sampling.x = 1: no such key; known here: temperature"),
        ('slo = { ttf = "2s" }', "slo.ttf = '2s': no such key; did you mean 'ttft'?"),
        ('slo = { ttft = "soon" }', "slo.ttft = 'soon': not a duration; write it like 2s"),
        ("[models.a.slo]\ntpot = 0", "models.a.slo.tpot = 0: Input should be greater than 0"),
        ("[models.a]\nsampling = { top_p = 2 }", "models.a.sampling.top_p = 2: Input should be less"),
        ('budget = "6G"', "budget = '6G': not a size; write it like 6GiB"),
        ("budget = 0", "budget = 0: Input should be greater than 0"),
        ('quantum = "5m"', "quantum (300s) must not be longer than max_wait (120s)"),
        ('[models.a]\ndevice = "gpu"', "models.a.device = 'gpu': the devices are auto"),
        ('device = "cpu"\n[[devices]]\nname = "cpu"', "either device and budget, or a list of devices"),
        ('[[devices]]\nname = "cpu"\n[[devices]]\nname = "cpu"', "device 'cpu' is listed twice"),
        ("host_memory = -1", "host_memory = -1: Input should be greater than or equal to 0"),
        ('arena = "much"', "arena = 'much': not a size"),
        ("slots = true", "slots = True: Input should be a valid integer"),
        ("port =", "not valid TOML: Invalid value"),
    ],
)
def test_what_is_refused(file: Path, text: str, said: str) -> None:
    message = refusal(file, text)
    assert message.startswith(f"{file}: ")
    assert said in message


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    message = refusal(file, 'port = "x"\nslots = 0')
    assert "port = 'x'" in message
    assert "slots = 0" in message


def test_a_wrong_option_is_called_by_its_name(file: Path) -> None:
    assert refusal(None, overrides={"max_wait": "1 day"}).startswith("--max-wait 1 day: not a duration")


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(file)


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().port = 1
