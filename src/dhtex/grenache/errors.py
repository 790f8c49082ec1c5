"""Errors of Grenache calls, placed in the package's hierarchy by what the caller can do."""

from __future__ import annotations

from dhtex.errors import NetworkError, PeerError


class GrapeError(PeerError):
    """The Grape answered with an error.

    Attributes:
        code: the text it sent, such as `ERR_GRAPE_SERVICE_PORT`.
        status: its HTTP status.
    """

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"the Grape refused: {code}")
        self.code = code
        self.status = status


class ServiceError(PeerError):
    """The service was reached and answered with an error; its message is the service's own."""


class ServiceNotFound(NetworkError):
    """No service of that name is announced now."""


class ServiceUnreachable(NetworkError):
    """None of the announced addresses, or no Grape, gave an answer in time."""


def reason(error: Exception) -> str:
    """Why a call failed, also for errors without words of their own, as time-outs are."""
    return str(error) or "it takes too long"
