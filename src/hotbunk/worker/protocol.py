"""What travels between the runtime and a worker: msgpack-encoded structs over one ZeroMQ PAIR socket.

Commands go down and are carried out in the order sent; reports come up. A command names the model or the sequence it
concerns and so does the report that answers it; a command that fails is answered by ``Failed``. At most one operation
on a model (open, load, unload, resize) is under way at a time: the runtime waits for its report.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from hotbunk.errors import ConfigError
from hotbunk.placement import Footprint, Placement
from hotbunk.sampling import Sampling


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all messages; the class name is the tag on the wire."""


# ---------------------------------------------------------------- commands


class Open(Message, frozen=True):
    """Open the file as a shell (nothing on the device) and check that its layers can be moved. Answer: ``Opened``.

    One that is open already is told of again.
    """

    model: str
    path: str


class Predict(Message, frozen=True):
    """Foretell the bytes of a placement, by a dry load that allocates nothing. Answer: ``Predicted``.

    ``layers`` None asks for the largest residency whose device bytes are at most ``budget``; ``experts`` and ``cached``
    as in ``Placement``.
    """

    model: str
    context: int
    slots: int
    layers: int | None = None
    budget: int = 0
    experts: int | None = None
    cached: int | None = None


class Load(Message, frozen=True):
    """Promote ``placement.layers`` layers of an opened model and make its context. Answer: ``Loaded``.

    ``spare``, here and below: bytes of device memory that nobody else needs once it is done. As many the worker may
    keep of what leaves, since giving memory back to the driver and taking it again costs time.
    """

    model: str
    placement: Placement
    spare: int = 0


class Unload(Message, frozen=True):
    """Free the context and demote every layer. Sequences still running are suspended first. Answer: ``Unloaded``."""

    model: str
    spare: int = 0


class Resize(Message, frozen=True):
    """Change a loaded model's placement while its sequences live. Answer: ``Loaded`` with the new placement.

    Where context, slots and ``cached`` stay as they are, only weights move; else the contexts are made anew.
    """

    model: str
    placement: Placement
    spare: int = 0


class Trim(Message, frozen=True):
    """Keep no more than ``spare`` bytes of device memory that no model uses. No answer."""

    spare: int


class Start(Message, frozen=True):
    """Prefill ``prompt`` then ``generated`` and go on generating, in a free slot of a loaded model.

    ``generated`` holds tokens that an earlier life of the sequence has already produced (after a worker died): they
    are evaluated again, never reported again, and count for penalties, grammar, random draws and ``max_tokens``.
    ``stop_tokens`` end the sequence; the stop token itself is not reported. ``logprobs`` None: none wanted; 0: of the
    chosen token only; n: and of the n likeliest. ``max_tokens`` counts all generated tokens.
    """

    sequence: int
    model: str
    prompt: list[int]
    sampling: Sampling
    max_tokens: int
    stop_tokens: list[int]
    generated: list[int] = []
    logprobs: int | None = None


class Cancel(Message, frozen=True):
    """Forget the sequence, wherever it is, and free its slot or its suspended state. Answer: ``Ended``, if it lived."""

    sequence: int


class Suspend(Message, frozen=True):
    """Move a running sequence's KV cache and sampler state to host memory. Answer: ``Suspended`` (or its ``Ended``)."""

    sequence: int


class Resume(Message, frozen=True):
    """Bring a suspended sequence back into a free slot of its (loaded) model. Answer: ``Resumed``."""

    sequence: int


class Shutdown(Message, frozen=True):
    """Free everything and exit."""


Command = Open | Predict | Load | Unload | Resize | Trim | Start | Cancel | Suspend | Resume | Shutdown

# ---------------------------------------------------------------- reports


class Hello(Message, frozen=True):
    """First report: the worker is up. ``memory_total``/``memory_free`` in bytes, as the driver says at start.

    ``moves`` tells whether layers can be moved live here; if not, ``reason`` says which check failed and models are
    loaded the ordinary way.
    """

    device: str
    description: str
    memory_total: int
    memory_free: int
    threads: int
    libllama: str
    moves: bool
    reason: str = ""

    @property
    def budget(self) -> int:
        """Bytes to use where no budget is set: 90 % of a GPU's free memory; of the host's, which all share, half."""
        return int(self.memory_free * (0.5 if self.device.startswith("CPU") else 0.9))


class Opened(Message, frozen=True):
    """An opened model: ``layers`` is the number of all layers (blocks and head), ``context`` the trained length."""

    model: str
    layers: int
    context: int
    weights: int
    seconds: float


class Predicted(Message, frozen=True):
    """The placement asked for, priced in bytes on each side."""

    model: str
    placement: Placement


class Loaded(Message, frozen=True):
    """A model stands as ``placement`` says. ``device`` is what libllama reports of its buffers now, in bytes.

    ``moved`` counts weight bytes copied, ``steps`` the seconds of each part (promote, demote, context, kv_out, kv_in;
    a context is made while the bytes of a promotion are on their way). ``driver`` is by how much the driver's free
    memory fell meanwhile, in bytes (0: it does not tell). ``pinned`` says whether the bytes came from the host store.
    """

    model: str
    placement: Placement
    device: Footprint
    moved: int
    seconds: float
    steps: dict[str, float] = {}
    driver: int = 0
    pinned: bool = False


class Unloaded(Message, frozen=True):
    """Nothing of the model is on the device any more: ``freed`` bytes, of which the worker has ``kept`` so many."""

    model: str
    freed: int
    seconds: float
    kept: int = 0


class Token(msgspec.Struct, frozen=True, array_like=True):
    """One generated token; natural log-probabilities of the unmodified logits where asked for."""

    sequence: int
    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Produced(Message, frozen=True):
    """The tokens of one step of one model, which took ``seconds`` to evaluate.

    ``prefilled`` 0: a decode step of all its running sequences. Else the step was a sequence's prefill of so many
    tokens, all its chunks together, and the token is its first; up to ``beside`` others decoded between the chunks.
    """

    model: str
    tokens: list[Token]
    seconds: float = 0.0
    prefilled: int = 0
    beside: int = 0


class Ended(Message, frozen=True):
    """A sequence is over and its slot free. ``prefill`` and ``decode`` are the seconds it took part in each."""

    sequence: int
    reason: Literal["stop", "length", "cancelled", "error"]
    message: str = ""
    prefill: float = 0.0
    decode: float = 0.0


Tier = Literal["pinned", "memory", "disk"]
"""Where a suspended sequence's state lies: in the pinned arena, in ordinary host memory, or in a file."""


class Suspended(Message, frozen=True):
    """A sequence's state lies in ``tier``: ``size`` bytes, after ``seconds`` of copying."""

    sequence: int
    size: int
    seconds: float
    tier: Tier = "memory"


class Resumed(Message, frozen=True):
    """A suspended sequence runs again; its state came from ``tier``."""

    sequence: int
    size: int
    seconds: float
    tier: Tier = "memory"


class Failed(Message, frozen=True):
    """A command could not be carried out; nothing has changed but what ``message`` says.

    ``memory``: it was for want of device memory, and a smaller placement may do.
    """

    command: str
    message: str
    model: str | None = None
    sequence: int | None = None
    memory: bool = False


class Beat(Message, frozen=True):
    """Sent every half second by a thread of its own, however long a step lasts.

    ``busy`` is the age in seconds of the operation under way (0: idle). Of suspended sequences, ``pinned`` is the bytes
    in the pinned arena, which has room for ``arena``, ``held`` those in ordinary memory, ``spilled`` those on disk;
    ``trouble`` says why they cannot be spilled, if they cannot. ``device`` is the device bytes of all loaded models as
    libllama reports them, ``free`` those that the driver says are free, with those that were spared (-1: it does not
    tell), ``rss`` the process's resident memory but for mapped files. ``stored`` has for each model in the host store,
    or on its way there, the bytes that are there and all its bytes; ``filling``: it, or the arena, takes something in.
    ``worked`` is the seconds in which an evaluation or a move was under way, or whatever else it was asked for.
    """

    busy: float
    operation: str
    held: int
    spilled: int
    device: int
    rss: int
    trouble: str = ""
    pinned: int = 0
    arena: int = 0
    free: int = -1
    stored: dict[str, tuple[int, int]] = {}
    filling: bool = False
    worked: float = 0.0


Report = Hello | Opened | Predicted | Loaded | Unloaded | Produced | Ended | Suspended | Resumed | Failed | Beat

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_report = msgspec.msgpack.Decoder(Report).decode

_LONGEST = 107
"""Bytes of a path that name a socket, at the most."""


def address(folder: Path) -> str:
    """Where a worker's socket is, in a folder of its own.

    Raises:
        ConfigError: the system takes no path that long.
    """
    path = folder / "worker"
    if (size := len(os.fsencode(path))) > _LONGEST:
        raise ConfigError(
            f"the socket of a worker would be {path}, of {size} bytes, but its path may have {_LONGEST}: set TMPDIR to "
            "a folder with a shorter path"
        )
    return f"ipc://{path}"
