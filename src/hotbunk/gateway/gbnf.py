"""What a grammar (GBNF) would cost libllama, told from its text: libllama bounds neither its memory nor its time.

It writes repetitions out when it parses, and wherever text can go on it holds every way in which it can, as a stack of
places in rules; a few hundred bytes can ask for more of either than there is. Whatever libllama refuses by itself may
be misread here, but only from where it stops reading.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

DEEPEST = 1000
"""Nested parentheses: the parser recurses."""
MOST_ELEMENTS = 1 << 21
"""Of all rules with repetitions written out, a rule by itself counting as ``_RULE``: up to 30 MB."""
MOST_PLACES = 1 << 14
"""In all the stacks by which text can go on at one point; libllama tries them all on each token."""
_REPEATED = 2000  # times, libllama's own limit
_RULE = 20  # what a rule takes beside its elements, in elements, here rather than there

_Symbol = str | int
"""In a rule: another rule's name, or a number of elements that are characters."""
_Rules = dict[str, list[list[_Symbol]]]
"""The alternatives of each rule."""

# nothing here gives back what it has matched, so that reading takes linear time whatever the text
_TOKEN = re.compile(
    r""""(?P<literal>(?:\\.|[^"\\])*+)"?+
    |\[\^?+(?P<class>(?:\\.|[^\]\\])*+)\]?+
    |\#[^\r\n]*+
    |(?P<name>[a-zA-Z0-9-]++)(?P<is>[ \t]*+::=)?+
    |(?P<times>[*+?]|\{[^}]*+\}?+)
    |(?P<mark>[()|])
    |(?P<any>\.|!?<[^>]*+>?+)""",
    re.DOTALL | re.VERBOSE,
)
_TIMES = re.compile(r"\{\s*(\d{1,9})\s*(?:(,)\s*(\d{1,9})?\s*)?\}")


class TooMuch(ValueError):
    """A grammar that is not to reach libllama."""


def check(text: str) -> None:
    """Pass a grammar that libllama can bear, or that it refuses by itself.

    Raises:
        TooMuch: it would take too much memory or time, or never end.
    """
    rules = _Reader().read(text)
    _measure(rules, _empty(rules))


@dataclass(slots=True)
class _Open:
    """A rule that is being read: its alternatives, and where the item to repeat begins in the last one."""

    name: str
    alternatives: list[list[_Symbol]] = field(default_factory=lambda: [[]])
    item: int = 0


class _Reader:
    """Reads rules as libllama's parser does: a group and every optional repetition is a rule of its own."""

    def __init__(self) -> None:
        self._rules: _Rules = {}
        self._size = 0

    def read(self, text: str) -> _Rules:
        stack = [_Open("")]
        for match in _TOKEN.finditer(text):
            kind, token = match.lastgroup, match.group()
            if kind == "is":
                stack = [_Open(match["name"])]
                self._add(stack[0].name, stack[0].alternatives)
            elif kind == "times":
                self._repeat(stack[-1], *_times(token))
            elif kind == "mark":
                self._mark(stack, token)
            elif kind == "name":
                self._item(stack[-1], [token])
            elif kind == "any":
                self._item(stack[-1], [1])
            elif kind:
                self._item(stack[-1], [len(match[kind])] if match[kind] else [])
        return self._rules

    def _mark(self, stack: list[_Open], mark: str) -> None:
        if mark == "(":
            group = _Open(self._fresh(stack[-1].name))
            self._add(group.name, group.alternatives)
            self._item(stack[-1], [group.name])
            stack.append(group)
            if len(stack) > DEEPEST + 1:
                raise TooMuch(f"the grammar nests too many parentheses; at most {DEEPEST} are taken")
        elif mark == ")":
            del stack[max(len(stack) - 1, 1) :]
        else:
            stack[-1].alternatives.append([])
            stack[-1].item = 0

    def _item(self, rule: _Open, symbols: list[_Symbol]) -> None:
        rule.item = len(rule.alternatives[-1])
        rule.alternatives[-1] += symbols
        self._grow(_size(symbols))

    def _repeat(self, rule: _Open, least: int, most: int | None) -> None:
        symbols = rule.alternatives[-1]
        item = symbols[rule.item :]
        optional = 1 if most is None else most - least
        self._grow(_size(item) * (least + optional) + optional)
        last: list[_Symbol] = []
        for _ in range(optional):
            name = self._fresh(rule.name)
            self._add(name, [item + ([name] if most is None else last), []])
            last = [name]
        symbols[rule.item :] = item * least + last

    def _fresh(self, name: str) -> str:
        return f"{name.partition('_')[0]}_{len(self._rules)}"  # as libllama's; no name in a text has this character

    def _add(self, name: str, alternatives: list[list[_Symbol]]) -> None:
        self._rules[name] = alternatives
        self._grow(_RULE)

    def _grow(self, elements: int) -> None:
        self._size += elements
        if self._size > MOST_ELEMENTS:
            raise TooMuch(
                "the grammar has too many elements with its repetitions written out; at most "
                f"{MOST_ELEMENTS} are taken: repeat less, or shorter parts"
            )


def _times(token: str) -> tuple[int, int | None]:
    if token in "*+?":
        return int(token == "+"), 1 if token == "?" else None
    match = _TIMES.fullmatch(token)
    if not match:
        raise TooMuch(f"the grammar has {token[:40]!r} where it should say how often, as in {{2,5}}")
    least, comma, most = match.groups()
    low, high = int(least), int(most) if most else None if comma else int(least)
    if max(low, high or 0) > _REPEATED:
        raise TooMuch(f"the grammar repeats {token}; at most {_REPEATED} times are possible")
    if high is not None and high < low:  # libllama counts down from the one to the other, past zero
        raise TooMuch(f"the grammar repeats {token}; the second number must not be less than the first")
    return low, high


def _size(symbols: list[_Symbol]) -> int:
    return sum(symbol if isinstance(symbol, int) else 1 for symbol in symbols)


def _empty(rules: _Rules) -> set[str]:
    """The rules that may be nothing at all."""
    empty: set[str] = set()
    waiting: dict[_Symbol, list[tuple[str, list[_Symbol], int]]] = defaultdict(list)
    found = []
    for name, alternatives in rules.items():
        for symbols in alternatives:
            if not symbols:
                found.append(name)
            elif all(isinstance(symbol, str) for symbol in symbols):
                waiting[symbols[0]].append((name, symbols, 0))
    while found:
        name = found.pop()
        empty.add(name)
        for user, symbols, place in waiting.pop(name, ()):
            while place < len(symbols) and symbols[place] in empty:
                place += 1
            if place < len(symbols):
                waiting[symbols[place]].append((user, symbols, place))
            else:
                found.append(user)
    return empty


@dataclass(frozen=True, slots=True)
class _Cost:
    """How libllama goes from a place in the rules to the characters that may come there."""

    stacks: int
    """Different ones made on the way."""
    places: int
    """In all of them."""


_NOTHING = _Cost(0, 0)
_ONE = _Cost(1, 1)


def _measure(rules: _Rules, empty: set[str]) -> None:
    costs = _costs(rules, empty)
    for name, alternatives in rules.items():
        for symbols in alternatives:
            for _ in _suffixes(name, symbols, costs, empty):
                pass  # each is bounded


def _costs(rules: _Rules, empty: set[str]) -> dict[str, _Cost]:
    """What each rule costs from its beginning."""
    begins = {
        name: [each for each in _leftmost(alternatives, empty) if each[0] in rules]
        for name, alternatives in rules.items()
    }
    costs: dict[str, _Cost] = {}
    for circle in _circles({name: [other for other, _ in others] for name, others in begins.items()}):
        members = set(circle)
        for name in circle:
            # round and round with nothing left to do is harmless, as libllama sees where it has been
            if any(grows and other in members for other, grows in begins[name]):
                raise TooMuch(
                    f"rule {_plain(name)!r} of the grammar comes back to itself before any character, without end; "
                    "let a character come first"
                )
            costs[name] = _rule(name, rules[name], costs, empty)
    return costs


def _circles(edges: dict[str, list[str]]) -> Iterator[list[str]]:
    """Strongly connected parts of a graph, those that others lead to first (Tarjan's, without recursion)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    for start in edges:
        todo = [] if start in number else [(start, iter(edges[start]))]
        while todo:
            name, others = todo[-1]
            if name not in number:
                number[name] = lowest[name] = len(number)
                path.append(name)
            for other in others:
                if other not in number:
                    todo.append((other, iter(edges[other])))
                    break
                lowest[name] = min(lowest[name], number[other])
            else:
                todo.pop()
                if todo:
                    lowest[todo[-1][0]] = min(lowest[todo[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    circle = [path.pop()]
                    while circle[-1] != name:
                        circle.append(path.pop())
                    number.update(dict.fromkeys(circle, len(edges)))  # no part of another one
                    yield circle


def _leftmost(alternatives: list[list[_Symbol]], empty: set[str]) -> Iterator[tuple[str, bool]]:
    """The rules that a rule may begin with, and whether something of it is left to do after each."""
    for symbols in alternatives:
        for place, symbol in enumerate(symbols):
            if isinstance(symbol, int):
                break
            yield symbol, place + 1 < len(symbols)
            if symbol not in empty:
                break


def _rule(name: str, alternatives: list[list[_Symbol]], costs: dict[str, _Cost], empty: set[str]) -> _Cost:
    stacks = places = 1
    for symbols in alternatives:
        *_, cost = _ONE, *_suffixes(name, symbols, costs, empty)
        stacks, places = stacks + cost.stacks, places + cost.places
        _bound(name, places)
    return _Cost(stacks, places)


def _suffixes(name: str, symbols: list[_Symbol], costs: dict[str, _Cost], empty: set[str]) -> Iterator[_Cost]:
    """What an alternative costs from each of its places on, the last one first."""
    rest, left = _ONE, 0
    for symbol in reversed(symbols):
        if isinstance(symbol, int):
            rest = _ONE
        else:
            first = costs.get(symbol, _NOTHING)  # it is being worked out where it comes back to itself: seen already
            after = rest if symbol in empty else _NOTHING
            rest = _Cost(first.stacks + after.stacks, first.places + left * first.stacks + after.places)
        left = 1
        _bound(name, rest.places)
        yield rest


def _bound(name: str, places: int) -> None:
    if places > MOST_PLACES:
        raise TooMuch(
            f"rule {_plain(name)!r} of the grammar can go on in too many ways at one point; at most {MOST_PLACES} "
            "places in rules are looked at: give it fewer alternatives, or fewer optional parts inside each other"
        )


def _plain(name: str) -> str:
    return name.partition("_")[0]
