"""JSON schema to GBNF, within bounds: converter and parser recurse, and neither may take the house down."""

import json
import re
from functools import lru_cache
from typing import Any

from llama_cpp.llama_grammar import PRIMITIVE_RULES, SchemaConverter

from hotbunk.errors import BadRequest
from hotbunk.gateway import gbnf

LARGEST = 256 << 10
"""Bytes of the longest grammar; one rule calling the next, this much is still parsed within 8 MiB of stack."""
_WRITTEN = 64 << 20  # bytes of all rules that the converter writes, those that it writes again included
_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_ANNOTATIONS |= {"$schema", "$id", "$comment", "$defs", "definitions"}
"""What says nothing of the values that fit."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")

_UNIT = re.compile(
    r"\\(?P<escape>u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)"
    r"|\[(?P<not>\^?)(?P<class>(?:\\.|[^\]\\])*+)(?:\]|(?P<unclosed>\Z))"
    r"|(?P<times>[*+?]|\{\d+(?:,\d*)?\})\??"  # a lazy one takes the same texts
    r"|(?P<plain>.)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_SETS = {"d": "0-9", "w": "A-Za-z0-9_", "s": " "}  # of white space a JSON string holds the blank alone
_UNSAFE = r'"\\\x7F\x00-\x1F'  # what a JSON string holds only escaped, as a part of a class
_QUOTED = {'"': '(\\\\")', "\\": r"(\\\\)"}  # groups, so that what is repeated is all of it


class _Converter(SchemaConverter):
    """As llama-cpp-python's, but what it would misread or never finish is put in words that it knows, or refused."""

    def __init__(self) -> None:
        super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)  # type: ignore[no-untyped-call]
        self._written = 0

    def _format_literal(self, literal: str) -> str:
        text = json.dumps(json.loads(literal), ensure_ascii=False)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def visit(self, schema: Any, name: str) -> str:
        """The rule of a schema."""
        if _fits_all(schema):
            value: str = self._add_primitive("value", PRIMITIVE_RULES["value"])
            return value if name else self._add_rule("root", value)
        if schema.get("type") == "array" and "prefixItems" not in schema and _fits_all(schema.get("items", True)):
            schema = {**schema, "items": {"title": "anything"}}  # the converter passes over what is empty
        key: str = super().visit(schema, name)  # type: ignore[no-untyped-call]
        return key

    def _visit_pattern(self, pattern: str, name: str) -> str:
        key: str = super()._visit_pattern(_plain(pattern), name)  # type: ignore[no-untyped-call]
        return key

    def _add_rule(self, name: str, rule: str) -> str:
        if name == "char":
            rule = rule.replace(r'[^"\\]', f"[^{_UNSAFE}]")
        elif name == "dot":
            rule = f"[^{_UNSAFE}]"
        self._written += len(name) + len(rule)
        if self._written > _WRITTEN:  # names repeat those of all parents, and some definitions are written at every use
            raise ValueError(f"its grammar takes more than {_WRITTEN} bytes to write")
        key: str = super()._add_rule(name, rule)  # type: ignore[no-untyped-call]
        return key


def _fits_all(schema: Any) -> bool:
    """Whether it allows any value."""
    return schema is True or (isinstance(schema, dict) and schema.keys() <= _ANNOTATIONS)


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
    converter.visit(converter.resolve_refs(_inlined(json.loads(schema)), "schema"), "")
    grammar: str = converter.format_grammar()
    return grammar


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what its root refers to in the root's place: the converter looks no further than a reference."""
    followed = set()
    while isinstance(ref := schema.get("$ref"), str) and ref.startswith("#/"):
        if ref in followed:
            raise ValueError(f"{ref} refers to itself")
        followed.add(ref)
        target: Any = schema
        for step in ref.split("/")[1:]:
            if not isinstance(target, dict) or step not in target:
                raise ValueError(f"there is no {ref}")
            target = target[step]
        definitions: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        schema = {**target, **definitions}
    return schema


def _plain(pattern: str) -> str:
    """A regular expression with what the converter misreads as classes and groups.

    Raises:
        ValueError: it has what the converter does not know.
    """
    if not (len(pattern) > 1 and pattern[0] == "^" and re.search(r"(?<!\\)(?:\\\\)*\$\Z", pattern)):
        raise ValueError(
            f"the pattern {pattern[:60]!r} must begin with ^ and end with $, to say what the whole text is"
        )
    units = list(_UNIT.finditer(pattern[1:-1]))
    if sum(unit["plain"] == "(" for unit in units) != sum(unit["plain"] == ")" for unit in units):
        raise ValueError(f"the pattern {pattern[:60]!r} has parentheses that do not match")
    return f"^({''.join(map(_unit, units))})$"


def _unit(unit: re.Match[str]) -> str:
    if unit["times"]:
        return unit["times"]
    if unit["escape"]:
        return _QUOTED.get(unit["escape"]) or f"[{_escape(unit['escape'])}]"
    if unit["unclosed"] is not None:
        raise ValueError("its pattern has [ without ]; put a backslash before it if it means itself")
    if unit["class"] is not None:
        return f"[{unit['not']}{_ESCAPE.sub(lambda each: _escape(each[1]), unit['class'])}{unit['not'] and _UNSAFE}]"
    if unit["plain"] in "^$":
        raise ValueError(f"its pattern has {unit['plain']} inside; put a backslash before it if it means itself")
    return _QUOTED.get(unit["plain"]) or (f"[{_escape(unit['plain'])}]" if unit["plain"] in "]{}" else unit["plain"])


def _escape(escape: str) -> str:
    """What stands in a class for a backslash and this."""
    if escape in _SETS:
        return _SETS[escape]
    if len(escape) > 1:
        return f"\\{escape}"
    if escape.isalnum():
        raise ValueError(f"its pattern has \\{escape}, which is not supported")
    return f"\\U{ord(escape):08X}"


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
