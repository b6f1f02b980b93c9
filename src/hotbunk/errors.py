"""The errors hotbunk raises on purpose; each message says what was wrong, with what value, and what to do."""

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C broke off, as shells have it."""


class HotbunkError(Exception):
    """Anything hotbunk refuses or cannot do, said in one sentence fit for the user."""


class ConfigError(HotbunkError):
    """The command line or the configuration file asks for something impossible."""


class UnknownModel(HotbunkError):
    """A request names a model that is not served here."""


class UnusableModel(HotbunkError):
    """The model is known but cannot be served: a corrupt file, or more bytes than the budget holds."""


class BadRequest(HotbunkError):
    """The request cannot be met as it is; ``param`` names the field at fault."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Overloaded(HotbunkError):
    """No further request can be admitted within the bound on waiting; come back after ``retry_after`` seconds.

    ``present`` are the requests that its device has to answer before.
    """

    def __init__(self, message: str, retry_after: float, present: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.present = present


class EngineError(HotbunkError):
    """libllama refused or failed an operation."""


class OutOfMemory(EngineError):
    """The device has no memory left for it; a smaller placement may fit."""
