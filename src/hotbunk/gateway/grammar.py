"""What form an answer must have: a JSON schema, or a grammar that the client wrote; what cannot be used is refused."""

from typing import Any

from hotbunk.errors import BadRequest
from hotbunk.gateway import gbnf
from hotbunk.llama.grammar import Grammar
from hotbunk.llama.guide import Guide, of_schema
from hotbunk.llama.vocab import Vocab

LARGEST = 256 << 10
"""Bytes of the longest grammar; one rule calling the next, this much is still parsed within 8 MiB of stack."""
_LARGEST_SCHEMA = 64 << 10


def from_schema(schema: dict[str, Any], strict: bool = False) -> str:
    """What holds an answer to JSON that fits ``schema``.

    Raises:
        BadRequest: it is no JSON schema, or, where it is meant strictly, asks for something that cannot be held to.
    """
    try:
        text = of_schema(schema, strict)
        if len(text) > _LARGEST_SCHEMA:
            raise ValueError(f"it has {len(text)} bytes; at most {_LARGEST_SCHEMA} are taken")
        if wrong := Guide.fault(text):
            raise ValueError(wrong)
    except (RecursionError, ValueError) as error:
        hint = "; with strict: false it is passed over" if "Unimplemented" in str(error) else ""
        raise BadRequest(f"the JSON schema cannot be used: {error}{hint}", "response_format") from error
    return text


def check(text: str, vocab: Vocab) -> None:
    """Pass a grammar that a client wrote: GBNF, or Lark under llama-server's mark (``%llguidance``).

    Raises:
        BadRequest: it is not valid, or too long, too deep or too branched for libllama.
    """
    if len(text.encode()) > LARGEST:
        raise BadRequest(f"the grammar has {len(text.encode())} bytes; at most {LARGEST} are taken", "grammar")
    if Guide.knows(text):
        if wrong := Guide.fault(text):
            raise BadRequest(f"the grammar is not valid: {wrong}", "grammar")
        return
    try:
        gbnf.check(text)
    except gbnf.TooMuch as error:
        raise BadRequest(str(error), "grammar") from error
    Grammar(vocab, text, []).close()
