"""JSON schema to GBNF, within bounds: converter and parser recurse, and neither may take the house down."""

import json
import re
from functools import lru_cache
from typing import Any

from llama_cpp.llama_grammar import SchemaConverter

from hotbunk.errors import BadRequest
from hotbunk.gateway import gbnf

LARGEST = 256 << 10
"""Bytes of the longest grammar; one rule calling the next, this much is still parsed within 8 MiB of stack."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")


class _Converter(SchemaConverter):
    """As llama-cpp-python's, but names and constants are escaped rightly, and strings hold no control characters."""

    def __init__(self) -> None:
        super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)  # type: ignore[no-untyped-call]

    def _format_literal(self, literal: str) -> str:
        text = json.dumps(json.loads(literal), ensure_ascii=False)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def _add_rule(self, name: str, rule: str) -> str:
        if name == "char":
            rule = rule.replace(r'[^"\\]', r'[^"\\\x7F\x00-\x1F]')
        key: str = super()._add_rule(name, rule)  # type: ignore[no-untyped-call]
        return key


def from_schema(schema: dict[str, Any], param: str) -> str:
    """The grammar of all JSON texts that fit ``schema``.

    Raises:
        BadRequest: the schema is invalid, or asks for something the converter does not know; ``param`` is blamed.
    """
    try:
        text = json.dumps(schema)
        if len(text) > LARGEST // 4:
            raise BadRequest(f"the JSON schema has {len(text)} bytes; at most {LARGEST // 4} are taken", param)
        _check_counts(schema, param)
        return _convert(text)
    except BadRequest:
        raise
    except RecursionError as error:
        raise BadRequest("the JSON schema is nested too deeply or has too many optional properties", param) from error
    except (AssertionError, ValueError) as error:
        raise BadRequest(f"the JSON schema cannot be used: {error}", param) from error
    except Exception as error:  # the converter looks up and calls without checking its input first
        raise BadRequest(f"this is not a JSON schema: {type(error).__name__}: {error}", param) from error


@lru_cache(maxsize=64)
def _convert(schema: str) -> str:
    converter: Any = _Converter()
    converter.visit(converter.resolve_refs(json.loads(schema), "schema"), "")
    grammar: str = converter.format_grammar()
    return grammar


def check(grammar: str, param: str) -> None:
    """Refuse a grammar that would cost libllama too much.

    Raises:
        BadRequest: it is too long, too deep or too branched; ``param`` is blamed.
    """
    if len(grammar.encode()) > LARGEST:
        raise BadRequest(f"the grammar has {len(grammar.encode())} bytes; at most {LARGEST} are taken", param)
    try:
        gbnf.check(grammar)
    except gbnf.TooMuch as error:
        raise BadRequest(str(error), param) from error


def _check_counts(schema: Any, param: str) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_counts(item, param)
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        _check_counts(value, param)
        for count in _repetitions(key, value):
            if count > gbnf.DEEPEST:  # of nested parentheses, which is how the converter writes them
                raise BadRequest(
                    f"the JSON schema counts to {count} in {key}; at most {gbnf.DEEPEST} is possible", param
                )


def _repetitions(key: str, value: Any) -> list[int]:
    if key in _COUNTS and isinstance(value, int):
        return [value]
    if key == "pattern" and isinstance(value, str):
        return [int(number[:9]) for braces in re.findall(r"\{[^}]*\}", value) for number in re.findall(r"\d+", braces)]
    return []
