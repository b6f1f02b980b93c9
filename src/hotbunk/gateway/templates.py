"""Chat templates: the model's own, rendered by Jinja2 in its sandbox as transformers does, or ChatML."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hotbunk.errors import BadRequest
from hotbunk.llama.vocab import Vocab

log = logging.getLogger("hotbunk.gateway")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's words for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Template:
    """One model's way to write a conversation as text.

    Attributes:
        stops: stop strings the format itself asks for (ChatML's, where the vocabulary has no such token).
    """

    def __init__(self, name: str, vocab: Vocab) -> None:
        """Use the template in the file of model ``name``, or ChatML with a note in the log."""
        self._name = name
        self._tokens = {"bos_token": _text(vocab, vocab.bos), "eos_token": _text(vocab, vocab.eos)}
        self.stops: tuple[str, ...] = ()
        if vocab.template is None:
            log.warning("model %s has no chat template in its file; ChatML is used", name)
            self.stops = ("<|im_end|>",)
        self._source = vocab.template or CHATML
        self._compiled: jinja2.Template | None = None

    def render(self, messages: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> str:
        """The prompt that asks for the next message; ``extra`` holds further variables for the template.

        Raises:
            BadRequest: the template refuses the messages, or cannot be rendered at all.
        """
        try:
            if self._compiled is None:
                self._compiled = _environment().from_string(self._source)
            variables = {**extra, **self._tokens, "messages": messages, "add_generation_prompt": True}
            return self._compiled.render(variables)
        except Exception as error:  # a template is a program from the model's file: it may fail in any way
            kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
            raise BadRequest(
                f"the chat template of model {self._name!r} cannot write these messages: {kind}{error}", "messages"
            ) from error


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise, strftime_now=_now, tools=None, documents=None)
    return environment


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # Jinja2's own escapes for HTML
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _text(vocab: Vocab, token: int) -> str:
    return vocab.piece(token, special=True).decode(errors="replace") if token >= 0 else ""
