"""Chat templates, the models' own and broken ones."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotbunk.errors import BadRequest
from hotbunk.gateway.templates import Template
from hotbunk.llama.vocab import Vocab

HELLO = [{"role": "user", "content": "Hello"}]


def _template(source: str | None) -> Template:
    def piece(token: int, special: bool) -> bytes:
        return [b"<s>", b"</s>"][token]

    fake = SimpleNamespace(template=source, bos=0, eos=1, piece=piece)
    return Template("m", cast(Vocab, fake))


def test_smollm2_writes_chatml_with_its_own_system_message(vocab: Vocab) -> None:
    text = Template("smol", vocab).render(HELLO, {})
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")


def test_without_a_template_chatml_is_used_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hotbunk.gateway"):
        template = _template(None)
    assert "no chat template" in caplog.text
    assert template.render(HELLO, {}) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert template.stops == ("<|im_end|>",)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content | tojson }}{{ eos_token }}", '<s>"Hello"</s>'),
        ("{{ {'a': 'é<'} | tojson(indent=1) }}", '{\n "a": "é<"\n}'),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% for i in [1, 2] %}\n  {% if true %}\nx\n  {% endif %}\n{% endfor %}", "x\nx\n"),
        ("{% generation %}a{% endgeneration %}", "a"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{% if tools %}t{% elif add_generation_prompt %}{{ mood }}{% endif %}", "calm"),
    ],
)
def test_templates_have_what_transformers_gives_them(source: str, text: str) -> None:
    assert _template(source).render(HELLO, {"mood": "calm"}) == text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% if %}", "Expected an expression"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_template_that_fails_is_a_bad_request_with_the_reason(source: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as caught:
        _template(source).render(HELLO, {})
    assert caught.value.param == "messages"


def test_the_request_cannot_replace_what_the_template_is_given() -> None:
    extra: dict[str, Any] = {"messages": [], "bos_token": "x"}
    assert _template("{{ bos_token }}{{ messages | length }}").render(HELLO, extra) == "<s>1"
