"""A runner: one opened model, the sequences it holds, and their turns of the device."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hotbunk.errors import EngineError, HotbunkError
from hotbunk.llama.context import Context
from hotbunk.llama.model import Model
from hotbunk.llama.sampler import Sampler
from hotbunk.placement import Footprint
from hotbunk.worker.arena import Arena
from hotbunk.worker.outbox import Outbox
from hotbunk.worker.protocol import Ended, Produced, Resumed, Start, Suspended, Token
from hotbunk.worker.sequence import Reason, Sequence
from hotbunk.worker.watch import Watch

log = logging.getLogger("hotbunk.worker")


class Runner:
    """Runs the sequences of one model.

    A turn is one decode of all its decoding sequences, then one prefill chunk of its oldest prefilling one, as a call
    of its own: the shapes a prompt is evaluated in never depend on neighbours or on interruptions. Where the device
    computes by itself, the tokens of one evaluation are reported while the next is under way.

    Attributes:
        sequences: running and suspended ones by id, in the order they were started.
        context: None while the model is not loaded.
    """

    def __init__(self, name: str, model: Model, arena: Arena, watch: Watch, report: Outbox) -> None:
        self.name = name
        self.model = model
        self.sequences: dict[int, Sequence] = {}
        self.context: Context | None = None
        self._arena = arena
        self._watch = watch
        self._report = report

    @property
    def device(self) -> Footprint:
        """Bytes on the device now, as libllama reports them."""
        context = self.context.device if self.context else Footprint()
        return Footprint(self.model.device_weights, context.kv, context.compute)

    def running(self) -> list[Sequence]:
        """The sequences that have a slot, oldest first."""
        return [sequence for sequence in self.sequences.values() if sequence.slot is not None]

    # ------------------------------------------------------------ a sequence's life

    def start(self, start: Start) -> None:
        """Give a new sequence a free slot.

        Raises:
            HotbunkError: the model is not loaded, no slot is free, or the sequence cannot be run.
        """
        context, slot = self._seat()
        _check(start, self.model.vocabulary, context.length)
        if len(start.generated) >= min(start.max_tokens, context.length - len(start.prompt)):
            self._report(Ended(start.sequence, "length"))
            return
        with self._watch(f"start {self.name}"):
            sampler = Sampler(start.sampling, self.model, start.prompt, start.generated)
        sequence = self.sequences[start.sequence] = Sequence(start, sampler)
        sequence.slot = slot

    def end(self, sequence: Sequence, reason: Reason, message: str = "") -> None:
        """Forget a sequence wherever it is, and report why."""
        self._vacate(sequence)
        self._arena.drop(sequence.id)
        sequence.close()
        del self.sequences[sequence.id]
        self._report(Ended(sequence.id, reason, message, sequence.prefill, sequence.decode))

    def suspend(self, sequence: Sequence) -> Suspended:
        """Move a running sequence's state to the arena.

        Raises:
            HotbunkError: it does not run, libllama cannot save it, or there is no memory; it is then as before.
        """
        if self.context is None or sequence.slot is None:
            raise HotbunkError(f"sequence {sequence.id} is suspended already: resume it first")
        with self._watch(f"suspend {self.name}") as lap:
            # an untouched slot has no state that libllama could give or take
            size = self.context.state_size(sequence.slot) if sequence.done else 0
            with self._arena.reserve(sequence.id, size) as room:
                if size:
                    self.context.save(sequence.slot, room)
            self._vacate(sequence)
        return Suspended(sequence.id, size, lap.seconds, self._arena.tier(sequence.id))

    def resume(self, sequence: Sequence) -> Resumed | None:
        """Bring a suspended sequence back into a free slot; None if its state was not taken and it has ended.

        Raises:
            HotbunkError: it runs already, the model is not loaded, or no slot is free or long enough.
        """
        if sequence.slot is not None:
            raise HotbunkError(f"sequence {sequence.id} runs already")
        context, slot = self._seat(len(sequence.tokens))
        size, tier = self._arena.size(sequence.id), self._arena.tier(sequence.id)
        try:
            with self._watch(f"resume {self.name}") as lap, self._arena.take(sequence.id) as state:
                if size:
                    context.restore(slot, state)
        except (EngineError, OSError, MemoryError) as error:
            self.end(sequence, "error", f"its suspended state cannot be restored: {error}")
            return None
        sequence.slot = slot
        return Resumed(sequence.id, size, lap.seconds, tier)

    # ------------------------------------------------------------ turns

    def turn(self) -> bool:
        """Take one turn; False if there was nothing to do."""
        if self.context is None:
            return False
        running = self.running()
        decoding = [sequence for sequence in running if not sequence.prefilling]
        decoded = self._decode(self.context, decoding)
        prefilled = self._prefill(self.context, [s for s in running if s.prefilling], len(decoding))
        return decoded or prefilled

    def _decode(self, context: Context, batch: list[Sequence]) -> bool:
        if not batch:
            return False
        # libllama evaluates neighbouring slots in one go, if they come in order
        batch.sort(key=lambda sequence: sequence.slot or 0)
        along = self._between(batch)
        try:
            with self._watch(f"decode {self.name}") as lap:
                context.decode([(s.tokens[s.done], s.done, s.slot or 0) for s in batch], along)
                self._report.flush()
                context.synchronize()
        except Exception as error:
            self._break(batch, error)
            return True
        for sequence in batch:
            sequence.done += 1
            sequence.decode += lap.seconds
        self._draw(context, enumerate(batch, -len(batch)), lap.seconds)
        return True

    def _prefill(self, context: Context, waiting: list[Sequence], beside: int) -> bool:
        if not waiting:
            return False
        sequence = waiting[0]
        chunk, last = sequence.chunk(context.chunk)
        try:
            with self._watch(f"prefill {self.name}") as lap:
                context.prefill(sequence.slot or 0, sequence.done, chunk, output=last)
                self._report.flush()
                if last or beside:  # else the next chunk is made ready while this one is under way
                    context.synchronize()
        except Exception as error:
            self._break([sequence], error)
            return True
        sequence.done += len(chunk)
        sequence.prefill += lap.seconds
        sequence.beside = max(sequence.beside, beside)
        if last:
            self._draw(context, [(-1, sequence)], sequence.prefill, sequence.done, sequence.beside)
            self._report.flush()  # nobody waits longer for a first token than need be
        return True

    def _draw(
        self,
        context: Context,
        batch: Iterable[tuple[int, Sequence]],
        seconds: float,
        prefilled: int = 0,
        beside: int = 0,
    ) -> None:
        """Draw a token for each sequence, report them together, then end those that are over."""
        tokens: list[Token] = []
        over: list[tuple[Sequence, Reason, str]] = []
        for index, sequence in batch:
            try:
                token, reason = sequence.draw(context, index)
            except Exception as error:
                over.append((sequence, "error", _say(error)))
                continue
            if token:
                tokens.append(token)
            if reason:
                over.append((sequence, reason, ""))
        if tokens:
            self._report.later(Produced(self.name, tokens, seconds, prefilled, beside))
        for sequence, reason, message in over:
            self.end(sequence, reason, message)

    # ------------------------------------------------------------ slots

    def _seat(self, length: int = 0) -> tuple[Context, int]:
        """The context and its first free slot, for ``length`` tokens."""
        if self.context is None:
            raise HotbunkError(f"model {self.name} is not loaded: load it first")
        if length > self.context.length:
            raise HotbunkError(
                f"the sequence has {length} tokens, a slot of {self.name} now holds {self.context.length}: "
                "load it with a longer context"
            )
        taken = {sequence.slot for sequence in self.running()}
        for slot in range(self.context.slots):
            if slot not in taken:
                return self.context, slot
        raise HotbunkError(f"all {self.context.slots} slots of model {self.name} are taken: wait, or suspend one")

    def _between(self, batch: list[Sequence]) -> list[int]:
        """The empty slots between those of a batch, if there are no more than it has sequences.

        To evaluate them along takes far less than to read all weights once more for those behind a gap.
        """
        slots = [sequence.slot or 0 for sequence in batch]
        if slots[-1] - slots[0] < len(slots):
            return []
        taken = {sequence.slot for sequence in self.running()}
        empty = [slot for slot in range(slots[0], slots[-1]) if slot not in taken]
        return empty if len(empty) <= len(batch) else []

    def _vacate(self, sequence: Sequence) -> None:
        if self.context is not None and sequence.slot is not None:
            self.context.clear(sequence.slot)
        sequence.slot = None

    def _break(self, batch: list[Sequence], error: Exception) -> None:
        """End the sequences whose evaluation failed; their slots hold nobody knows what."""
        for sequence in batch:
            self.end(sequence, "error", _say(error))


def _say(error: Exception) -> str:
    """The error in words; one that is not hotbunk's own is a defect, and is logged as such."""
    if isinstance(error, HotbunkError):
        return str(error)
    log.error("unexpected error in a step", exc_info=error)
    return f"{type(error).__name__}: {error}"


def _check(start: Start, vocabulary: int, length: int) -> None:
    tokens = start.prompt + start.generated
    if not start.prompt:
        raise HotbunkError(f"sequence {start.sequence} has an empty prompt: give at least one token")
    if min(tokens) < 0 or max(tokens) >= vocabulary:
        wrong = next(token for token in tokens if not 0 <= token < vocabulary)
        raise HotbunkError(f"sequence {start.sequence} has the token {wrong}, the model's are 0 to {vocabulary - 1}")
    if start.max_tokens < 1:
        raise HotbunkError(f"sequence {start.sequence} asks for {start.max_tokens} tokens: ask for at least 1")
    if len(start.prompt) + 1 > length:
        raise HotbunkError(
            f"a prompt of {len(start.prompt)} tokens leaves no room for an answer in a context of {length} tokens"
        )
