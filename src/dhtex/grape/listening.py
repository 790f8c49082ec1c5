"""The listening socket of the HTTP API."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket

from dhtex.dht.addresses import format_address
from dhtex.errors import NetworkError, PortInUse

log = logging.getLogger(__name__)

BACKLOG = 1_024
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class ListeningSocket(socket.socket):
    """Refuses one client after the other while the process has no file descriptor left.

    asyncio goes on accepting after that error and tells of each try, hundreds of thousands of times in seconds, while
    the clients wait. Here one descriptor is kept in reserve: given up, it takes the next client, which is closed at
    once. Source: libuv, which does so for the original.
    """

    _reserve = -1
    _told = False

    def keep_reserve(self) -> None:
        """Take the descriptor that is given up later."""
        self._reserve = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, object]:
        """The next client; none, as far as asyncio sees, when it had to be refused."""
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
        if not self._told:
            self._told = True
            log.warning("refusing clients: every file descriptor is used; raise their number (ulimit -n)")
        self._drop_reserve()
        with contextlib.suppress(OSError):
            super().accept()[0].close()
        with contextlib.suppress(OSError):  # somebody else was faster; the next refusal tries again
            self.keep_reserve()
        raise BlockingIOError

    def close(self) -> None:
        """Stop listening."""
        self._drop_reserve()
        super().close()

    def _drop_reserve(self) -> None:
        reserve, self._reserve = self._reserve, -1
        if reserve >= 0:
            os.close(reserve)


def listen(host: str, port: int) -> ListeningSocket:
    """A TCP socket that listens; on `"::"` for IPv4 as well.

    Raises:
        PortInUse, NetworkError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = ListeningSocket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if os.name == "posix":  # elsewhere it would share the port with whoever has it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.keep_reserve()
    except OSError as error:
        listener.close()
        where = f"TCP {format_address((host, port))}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"another program listens on {where}; choose another port, or stop it") from error
        raise NetworkError(f"cannot listen on {where}: {error.strerror or error}") from error
    return listener
