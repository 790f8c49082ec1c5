"""Answers as JSON, errors too: `{"error": a fixed word, "sentence": what is wrong and what to do}`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from dhtex.errors import (
    Busy,
    DhtexError,
    FellBehind,
    JournalFull,
    NotOwner,
    NotRunning,
    OrderError,
    StorageError,
    UnknownOrder,
    UsageError,
)

logger = logging.getLogger(__name__)

STATUSES: Final[Mapping[type[DhtexError], tuple[int, str]]] = {
    UnknownOrder: (404, "unknown_order"),
    NotOwner: (403, "not_owner"),
    OrderError: (400, "order"),
    NotRunning: (503, "not_running"),
    UsageError: (400, "usage"),
    Busy: (503, "busy"),
    FellBehind: (410, "fell_behind"),
    JournalFull: (507, "disk_full"),
    StorageError: (503, "storage"),
    DhtexError: (500, "failed"),
}
"""Class of an error -> status and word; the first that fits counts, so subclasses stand before their bases."""

_HTTP_WORDS: Final = {
    404: ("not_found", "there is nothing at this path; the API is described in docs/reference/http-api.md"),
    405: ("method", "the path does not take this method; the Allow header names those it takes"),
    413: ("too_large", "the body is too large for an order"),
}
_RETRY_AFTER_S: Final = "1"


class Refusal(Exception):
    """A request that is answered with an error before the peer hears of it.

    Attributes:
        status: of HTTP.
        error: a fixed word for programs.
        sentence: for people.
    """

    def __init__(self, status: int, error: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.error = error
        self.sentence = sentence


def dump(fields: Mapping[str, Any]) -> str:
    """*fields* as compact JSON."""
    return json.dumps(fields, separators=(",", ":"))


def answer(fields: Mapping[str, Any], status: int = 200) -> web.Response:
    """*fields* as a response; nothing a browser or a proxy should keep."""
    return web.Response(
        text=dump(fields) + "\n",
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def refusal_of(error: DhtexError) -> Refusal:
    """*error* as a client of the gateway hears of it."""
    status, word = next(found for kind, found in STATUSES.items() if isinstance(error, kind))
    return Refusal(status, word, str(error))


def error_answer(error: Exception) -> web.Response:
    """What a request gets that ended in *error*, whatever it is."""
    match error:
        case DhtexError():
            return error_answer(refusal_of(error))
        case Refusal():
            return _failed(error.status, error.error, error.sentence)
        case web.HTTPException():
            word, sentence = _HTTP_WORDS.get(error.status, ("request", error.reason.lower()))
            response = _failed(error.status, word, sentence)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        case _:
            logger.error("a bug: a request failed", exc_info=error)
            return _failed(500, "internal", "this request met a bug of dhtex; the log has the details")


def _failed(status: int, error: str, sentence: str) -> web.Response:
    response = answer({"error": error, "sentence": sentence}, status)
    if status == 503:
        response.headers["Retry-After"] = _RETRY_AFTER_S
    return response
