"""What the gateway needs from below: the runtime, or in tests a small fake."""

from typing import Any, Protocol

from hotbunk.runtime.job import Generation, Job, ModelInfo


class Backend(Protocol):
    """Models that can be asked for tokens. Called from the event loop only."""

    def models(self) -> list[ModelInfo]:
        """All known models, unusable ones too."""

    def resolve(self, name: str) -> ModelInfo:
        """The model of that id or alias.

        Raises:
            UnknownModel: there is none; the message lists the known ids.
            UnusableModel: it cannot be served; the message says why.
        """

    def expect(self, model: str) -> None:
        """A request for the model is being prepared, and likely to be submitted; never blocks.

        Raises:
            UnusableModel: it cannot be served.
        """

    def submit(self, job: Job) -> Generation:
        """Queue a job; never blocks.

        Raises:
            Overloaded: the queue is full.
            UnusableModel, BadRequest: the job can never run.
        """

    async def load(self, model: str, layers: int | None) -> dict[str, Any]:
        """Load the model of that id or alias with so many layers on the device (None: as many as fit).

        Answers with its state. One that cannot be served is tried again.

        Raises:
            BadRequest: there is no such residency, or no room for it.
            UnknownModel: there is no such model.
            UnusableModel: it cannot be served, or its load failed.
        """

    async def unload(self, model: str) -> dict[str, Any]:
        """Take a model off its device; answers with its state."""

    def state(self) -> dict[str, Any]:
        """Everything there is to see, ready for JSON; ``gateway.metrics`` lists the keys it reads."""
