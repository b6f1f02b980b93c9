"""A tokenizer for models with random weights: it takes any text, and nearly every token is plain text.

A byte-level BPE made of the 256 bytes and of merged lower-case letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from string import ascii_lowercase

from hotbunk.errors import ConfigError

__all__ = ["MOST", "TEMPLATE", "Tokenizer", "tokenizer"]

Tokenizer = tuple[list[str], list[str]]
"""The tokens, the last two of which control the chat; and the merges."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template that goes with it."""
CONTROL = ["<|im_start|>", "<|im_end|>"]
LEAST = 256 + len(CONTROL)
MOST = LEAST + 26**2 + 26**3 + 26**4
"""How large a vocabulary may be, before the letters are used up."""


def tokenizer(vocabulary: int) -> Tokenizer:
    """Tokens and merges for a vocabulary of that size.

    Raises:
        ConfigError: it is too small or too large to be made of bytes and letters.
    """
    if not LEAST <= vocabulary <= MOST:
        raise ConfigError(f"a vocabulary of {vocabulary} tokens cannot be made; from {LEAST} to {MOST:,} can")
    merges = list(islice(_merges(), vocabulary - LEAST))
    tokens = [*_byte_letters(), *(left + right for left, right in merges), *CONTROL]
    return tokens, [f"{left} {right}" for left, right in merges]


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs, triples and then quadruples of letters, each of parts that are tokens already."""
    pairs = ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
    yield from product(ascii_lowercase, repeat=2)
    yield from product(pairs, ascii_lowercase)
    yield from product(pairs, pairs)


def _byte_letters() -> list[str]:
    """The letters that stand for the bytes: printable ones for themselves, the others from 256 on."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in shown else next(others)) for byte in range(256)]
