"""The HTTP server: binds the port, serves until told to stop, then lets go within a few seconds."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Collection, Iterator

import uvicorn

from hotbunk.errors import ConfigError
from hotbunk.gateway.app import Gateway, build
from hotbunk.gateway.backend import Backend

GRACE = 5
"""Seconds that running answers get to finish after the signal to stop; a second signal ends them at once."""
_KEEP_ALIVE = 75  # seconds that a connection is kept between requests: longer than clients do, for who closes it first
# loses a request that the other has just sent; httpx and openai keep theirs for 5 s, aiohttp for 15, nginx for 60
_LAST_RESORT = 10  # seconds after which uvicorn cancels what still holds on


class _Server(uvicorn.Server):
    """Uvicorn would end the process by the signal itself; here the caller still has workers to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    backend: Backend,
    host: str,
    port: int,
    ready: Callable[[str], None] | None = None,
    origins: Collection[str] = (),
) -> None:
    """Serve ``backend`` until SIGINT or SIGTERM; returns when all is quiet. Port 0 takes a free one.

    ``ready`` is told the address (``http://host:port``) once connections are taken; ``origins`` are those whose pages
    may ask.

    Raises:
        ConfigError: the address cannot be bound.
    """
    with bind(host, port) as listener:
        gateway = Gateway(backend)
        config = uvicorn.Config(
            build(gateway, origins),
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="on",
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_LAST_RESORT,
            server_header=False,
        )
        server = _Server(config)

        def stop() -> None:
            if server.should_exit:
                gateway.stopping.set()
            server.should_exit = True
            asyncio.get_running_loop().call_later(GRACE, gateway.stopping.set)

        with _signals(stop):
            if ready is not None:
                ready(address(listener))
            await server.serve(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host:port``.

    Raises:
        ConfigError: the port is in use or forbidden, or the host is unknown.
    """
    if not 0 <= port < 1 << 16:  # getaddrinfo would take it modulo 65536
        raise ConfigError(f"cannot serve on {host}:{port}: a port is at most 65535; choose another with --port")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # the latter where no part of a host's name could be like that
        raise ConfigError(f"cannot serve on {host}:{port}: {error}; choose another with --host and --port") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        other = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
        raise ConfigError(f"cannot serve on {host}:{port}: {reason}; choose another with {other}") from error
    return listener


def address(listener: socket.socket) -> str:
    """Where a listening socket can be reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    caught = (signal.SIGINT, signal.SIGTERM)
    for each in caught:
        loop.add_signal_handler(each, stop)
    try:
        yield
    finally:
        for each in caught:
            loop.remove_signal_handler(each)
