"""HTTP/1.1 as a Grape needs it, without input or output: bytes in, whole requests out. Source: RFC 9112.

Clients of the original see Node's HTTP server: HTTP/1.0 always closes, HEAD has no length, errors before a
request is whole are a bare status line. aiohttp's server frames differently and does three times the work for
a request of this size, so dhtex brings this parser for the Grenache API only (everything else HTTP in this
package is aiohttp).

Memory is bounded whatever arrives: heads of 16 KiB, bodies up to the limit; the rest of a longer body is
counted and thrown away, so that its sender reads the answer before the connection goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

HEAD_SIZE_MAX = 16_384
"""Bytes of request line and headers, as Node's default; beyond it the answer is 431."""

CHUNK_LINE_MAX = 1_024
DISCARD_MAX = 64 << 20
"""Bytes of an oversized body read to be thrown away; beyond it the connection closes."""

METHODS = frozenset(
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND "
    b"REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE "
    b"MKCALENDAR LINK UNLINK SOURCE QUERY".split()
)

# No version is HTTP/0.9, to Node's parser; to both, an answer to any but 1.1 ends with the connection.
_REQUEST_LINE = re.compile(rb"([A-Z-]+) ([!-~\x80-\xff]+)(?: HTTP/(0\.9|1\.0|1\.1|2\.0))?\r\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class BadRequest(Exception):  # named for its status
    """Bytes that are no request; the connection closes after the answer.

    Attributes:
        status: 400, 417 or 431.
        bare: the answer is only a status line and `Connection: close`.
    """

    def __init__(self, status: int, *, bare: bool = True) -> None:
        super().__init__(status)
        self.status = status
        self.bare = bare


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request.

    Attributes:
        target: as it stands in the request line.
        is_1_1: HTTP/1.1; the answer to any other version has no length and ends with the connection.
        keep_alive: the connection goes on after the answer.
        body: empty when `too_large`.
        too_large: the body is over the limit; what follows of it is not read as requests.
    """

    method: str
    target: str
    is_1_1: bool
    keep_alive: bool
    body: bytes
    too_large: bool = False


class _State(Enum):
    HEAD = "request line and headers"
    BODY = "a body of known length"
    CHUNK_SIZE = "the line before a chunk"
    CHUNK = "a chunk"
    CHUNK_END = "the end of line after a chunk"
    TRAILERS = "headers after the last chunk"


class Parser:
    """Cuts a stream of bytes into requests."""

    def __init__(self, body_max: int) -> None:
        self.wants_continue = False
        self._body_max = body_max
        self._buffer = bytearray()
        self._state = _State.HEAD
        self._method = ""
        self._target = ""
        self._is_1_1 = True
        self._keep_alive = True
        self._left = 0
        self._body: bytearray = bytearray()
        self._oversized = False
        self._discarded = 0
        self._trailers = 0

    @property
    def is_between_requests(self) -> bool:
        """True when nothing of a next request has arrived."""
        return self._state is _State.HEAD and not self._buffer

    @property
    def is_in_body(self) -> bool:
        """True when a head is whole and its body is not."""
        return self._state is not _State.HEAD

    def feed(self, data: bytes) -> None:
        """Add what arrived; call `next_request` until it returns None."""
        self._buffer += data

    def next_request(self) -> Request | None:
        """The next whole request, None when more bytes are needed.

        Raises:
            BadRequest: the bytes are no request, or its head is too large.
        """
        while True:
            if self._state is _State.HEAD:
                request = self._read_head()
                if request is not None:
                    return request
                if self._state is _State.HEAD:
                    return None
            elif self._state is _State.BODY:
                return self._read_body()
            elif not self._read_chunked():
                return None
            else:
                request = self._after_chunk_step()
                if request is not None:
                    return request

    def _after_chunk_step(self) -> Request | None:
        if self._state is _State.CHUNK and not self._oversized and self._exceeds():
            return self._too_large()
        if self._state is not _State.HEAD:
            return None
        if self._oversized:
            self._oversized = False  # answered when it became too large
            return None
        return self._finish()

    def _exceeds(self) -> bool:
        return len(self._body) + self._left > self._body_max

    def _finish(self) -> Request:
        body = bytes(self._body)
        self._body.clear()
        self._state = _State.HEAD
        return Request(self._method, self._target, self._is_1_1, self._keep_alive, body)

    def _too_large(self) -> Request:
        # A client that waits for "100 Continue" will not send the body: nothing to skip, and no way to go on.
        keep_alive = self._keep_alive and not self.wants_continue
        self._oversized = True
        self._discarded = 0
        self._body.clear()
        self.wants_continue = False
        return Request(self._method, self._target, self._is_1_1, keep_alive, b"", too_large=True)

    # --- the head ---

    def _read_head(self) -> Request | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: empty lines before a request are skipped
            del buffer[:2]
        line_end = buffer.find(b"\n", 0, HEAD_SIZE_MAX)
        if line_end < 0:
            self._check_head_size()
            return None
        line = _REQUEST_LINE.fullmatch(buffer, 0, line_end + 1)
        if line is None or line[1] not in METHODS:
            raise BadRequest(400)
        end = buffer.find(b"\r\n\r\n", line_end - 1, HEAD_SIZE_MAX)
        if end < 0:
            self._check_head_size()
            return None
        method, target, version = (
            bytes(line[1]).decode(),
            bytes(line[2]).decode("latin-1"),
            line[3],
        )
        del line  # it holds the buffer
        lines = bytes(buffer[line_end + 1 : end]).split(b"\r\n") if end > line_end else []
        del buffer[: end + 4]
        self._method, self._target = method, target
        self._begin_body(_headers(lines), is_1_1=version == b"1.1")
        if self._oversized and self._state is _State.BODY:
            return self._too_large()
        if self._state is _State.HEAD:
            return self._finish()
        return None

    def _check_head_size(self) -> None:
        if len(self._buffer) >= HEAD_SIZE_MAX:
            raise BadRequest(431)

    def _begin_body(self, headers: dict[bytes, bytes], *, is_1_1: bool) -> None:
        connection = headers.get(b"connection", b"").lower()
        self._is_1_1 = is_1_1
        self._keep_alive = is_1_1 and b"close" not in connection
        if is_1_1 and b"host" not in headers:
            raise BadRequest(400, bare=False)
        encoding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if encoding is not None:
            if length is not None or encoding.lower() != b"chunked" or not is_1_1:
                raise BadRequest(400)
            self._state = _State.CHUNK_SIZE
            self._trailers = 0
        elif length is not None:
            if _DIGITS.fullmatch(length) is None:
                raise BadRequest(400)
            self._left = int(length)
            self._oversized = self._left > self._body_max
            if self._left:
                self._state = _State.BODY
        expectation = headers.get(b"expect")
        if expectation is not None and is_1_1:
            if expectation.lower() != b"100-continue":
                raise BadRequest(417, bare=False)
            self.wants_continue = True

    # --- bodies ---

    def _read_body(self) -> Request | None:
        taken = min(self._left, len(self._buffer))
        self._left -= taken
        if self._oversized:
            self._discard(taken)
        else:
            self._body += self._buffer[:taken]
        del self._buffer[:taken]
        if self._left:
            return None
        if self._oversized:
            self._oversized = False
            self._state = _State.HEAD
            return self.next_request()
        return self._finish()

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > DISCARD_MAX:
            raise BadRequest(400)

    def _read_chunked(self) -> bool:
        """One step through a chunked body; false when more bytes are needed."""
        buffer = self._buffer
        if self._state is _State.CHUNK:
            taken = min(self._left, len(buffer))
            if not taken:
                return False
            if self._oversized:
                self._discard(taken)
            else:
                self._body += buffer[:taken]
            del buffer[:taken]
            self._left -= taken
            if not self._left:
                self._state = _State.CHUNK_END
            return True
        end = buffer.find(b"\r\n", 0, CHUNK_LINE_MAX)
        if end < 0:
            if len(buffer) >= CHUNK_LINE_MAX or b"\n" in buffer:
                raise BadRequest(400)
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if self._state is _State.CHUNK_END:
            if line:
                raise BadRequest(400)
            self._state = _State.CHUNK_SIZE
        elif self._state is _State.CHUNK_SIZE:
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise BadRequest(400)
            self._left = int(size[1], 16)
            self._state = _State.CHUNK if self._left else _State.TRAILERS
        else:
            self._trailers += len(line) + 2
            if self._trailers > HEAD_SIZE_MAX:
                raise BadRequest(431)
            if not line:
                self._state = _State.HEAD
            elif _HEADER.fullmatch(line) is None:
                raise BadRequest(400)
        return True


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Headers by lower-case name; of a repeated one the first, and a repeated length is refused."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise BadRequest(400)
        name = header[1].lower()
        if name in headers and name in (b"content-length", b"transfer-encoding"):
            raise BadRequest(400)
        headers.setdefault(name, header[2].strip(b" \t"))
    return headers
