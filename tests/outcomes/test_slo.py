"""What is promised, from the command line."""

import pytest

from hotbunk.errors import ConfigError
from hotbunk.outcomes.slo import Slo, Slos

MODELS = ("llama3:8b", "qwen")


def test_nothing_said_is_two_seconds_and_a_tenth() -> None:
    assert Slos.read([], MODELS).of("qwen") == Slo(2.0, 0.1)


def test_a_model_has_from_all_what_it_is_not_told() -> None:
    slos = Slos.read(["llama3:8b:ttft=30s", "ttft=1s,tpot=50ms", "llama3:8b:tpot=1s"], MODELS)
    assert slos.of("qwen") == Slo(1.0, 0.05)
    assert slos.of("llama3:8b") == Slo(30.0, 1.0)
    assert Slos.read(["qwen:ttft=30s", "tpot=50ms"], MODELS).of("qwen") == Slo(30.0, 0.05)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast", "'fast' is neither ttft nor tpot; write it like"),
        ("ttft=2s,latency=3s", "'latency=3s' is neither ttft nor tpot"),
        ("ttft=soon", "'soon' is not a duration"),
        ("qwen:tpot=", "'' is not a duration"),
        ("ttft=0s", "0s can never be met"),
        ("gpt:ttft=1s", "nothing is asked of gpt; the models are llama3:8b, qwen"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--slo {text}: {said}"):
        Slos.read([text], MODELS)
