"""What grammars would cost libllama: those that it never gets over do not reach it, and all others do."""

import llama_cpp.llama_grammar
import pytest

from hotbunk.gateway import gbnf
from hotbunk.llama.grammar import Grammar
from hotbunk.llama.vocab import Vocab

SAMPLES = {name: text for name, text in vars(llama_cpp.llama_grammar).items() if name.endswith("_GBNF")}


def _levels(rule: str, last: str, count: int) -> str:
    """Rules ``a0``, ``a1`` ... of which each is ``rule`` with the next one for ``a``; the last is ``last``."""
    rules = [f"a{level} ::= {rule.replace('a', f'a{level + 1}')}" for level in range(count)]
    return "\n".join(["root ::= a0", *rules, f"a{count} ::= {last}"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_levels("a a", '"x"?', 18), f"too many ways .* at most {gbnf.MOST_PLACES} places"),
        (_levels('a "y" | a "z"', '"x"', 18), "too many ways"),
        (_levels('a "y"', '"x"', 5000), "too many ways"),
        ('root ::= "x" a{2000}\na ::= "y"? | "z"?', "too many ways"),
        (f'root ::= "{"x" * 5000}"{{2000}}', f"too many elements .* at most {gbnf.MOST_ELEMENTS}"),
        (f"root ::= [{'a' * 5000}]{{2000}}", "too many elements"),
        ('root ::= "x"' + "{0,2000}".join(['"x"'] * 500), "too many elements"),
        ('root ::= "x"{1999}' + "+" * 100_000, "too many elements"),
        ('root ::= "x"{5,3}', r"\{5,3\}; the second number"),
        ('root ::= "x"{2001}', "at most 2000 times"),
        ('root ::= "x"{1,99999999999999999999}', "how often"),
        ('root ::= b root "z" | "q"\nb ::= c\nc ::= "x"?', "'root' of the grammar comes back to itself"),
        ('root ::= r? r r | "x"\nr ::= root | e\ne ::= "x"?', "comes back to itself"),
        ("# comment\rroot ::= " + "(" * 100_000, f"at most {gbnf.DEEPEST}"),
    ],
)
def test_a_grammar_that_would_take_too_much_is_refused(text: str, reason: str) -> None:
    with pytest.raises(gbnf.TooMuch, match=reason):
        gbnf.check(text)


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(text, id=name) for name, text in SAMPLES.items()),
        'root ::= ("x"*)*',
        'root ::= (("x"* "y"?)* "z"?)*',
        'root ::= "" "(" [(] [^)] "[" "^" . "]"{2,} "x"{0} "y"{ 1 , 3 } # (((',
        'root ::= a "z"\na ::= b a | "q"\nb ::= c\nc ::= "x"?',  # comes back to itself, but at its end
        "root ::= " + " | ".join(f'"{word}"' for word in range(8000)),
        "root ::= " + '"x"? ' * 1000,
        'root ::= "x"{0,2000} "y"{2000}',
        _levels("a a", '"x"', 150),
        _levels('"(" a? ")" a?', '"x"', 100),
    ],
)
def test_a_grammar_that_libllama_can_bear_is_passed(text: str, vocab: Vocab) -> None:
    gbnf.check(text)
    Grammar(vocab, text, []).close()


@pytest.mark.parametrize("text", ["[" * 250_000, '"\\' * 125_001, "[" * 250_000 + "\\", "a " * 125_000, "<" * 250_000])
def test_what_is_never_closed_is_read_once(text: str) -> None:
    gbnf.check(text)  # reading it again from each mark would take minutes
