"""What a model answers: the logits of a greedy continuation, to be compared bit by bit."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hotbunk.llama import gguf
from hotbunk.llama.context import Context
from hotbunk.llama.device import open_device
from hotbunk.llama.model import Model
from hotbunk.llama.shell import Opened

PROMPT = [1000 + i * 7919 % 30000 for i in range(40)]


def greedy(context: Context, slot: int = 0, count: int = 4) -> NDArray[np.float32]:
    """Logits of the prompt's last token and of the ``count - 1`` likeliest tokens that follow it."""
    context.clear(slot)
    context.prefill(slot, 0, PROMPT, output=True)
    rows = [context.logits(-1).copy()]
    while len(rows) < count:
        context.decode([(int(rows[-1].argmax()), len(PROMPT) + len(rows) - 1, slot)])
        rows.append(context.logits(0).copy())
    return np.stack(rows)


def answer(model: Model) -> NDArray[np.float32]:
    """The answer at the model's present residency."""
    context = model.context(256, 2)
    rows = greedy(context)
    context.close()
    return rows


def ordinary(path: Path, spec: str, layers: int) -> NDArray[np.float32]:
    """The answer of libllama's own way of loading."""
    facts, device = gguf.read(path), open_device(spec)
    opened = Opened(facts, device, layers)
    context = Context(opened.handle, device, facts.vocabulary, 256, 2, 1)
    rows = greedy(context)
    context.close()
    opened.close()
    return rows
