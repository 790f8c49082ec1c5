"""HTTP/1.1 as a Grape needs it, without input or output: bytes in, whole requests out. Source: RFC 9112.

Clients of the original see Node's HTTP server: HTTP/1.0 always closes, HEAD has no length, errors before a
request is whole are a bare status line. What Node's parser takes and refuses beyond the RFC is taken and refused
here. aiohttp's server frames differently and does three times the work for a request of this size, so dhtex
brings this parser for the Grenache API only (everything else HTTP in this package is aiohttp).

Memory is bounded whatever arrives: heads of 16 KiB, bodies up to the limit; the rest of a longer body is
counted and thrown away, so that its sender reads the answer before the connection goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

HEAD_SIZE_MAX = 16_384
"""A head's target, names and values together are shorter, as Node counts; from there on the answer is 431. Trailers
and the line before a chunk have the same limit.
"""

_UNCOUNTED = len("UNSUBSCRIBE  HTTP/1.1\r")
"""Bytes of a line that may not count, which half a line does not show."""

LENGTH_MAX = (1 << 64) - 1
DISCARD_MAX = 64 << 20
"""Bytes of an oversized body read to be thrown away; beyond it the connection closes."""

METHODS = frozenset(
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND "
    b"REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE "
    b"MKCALENDAR LINK UNLINK SOURCE QUERY".split()
)

# No version is HTTP/0.9, to Node's parser; to both, an answer to any but 1.1 ends with the connection.
_REQUEST_LINE = re.compile(
    rb"([A-Z-]+) +"
    rb"([/*][!-~]*|[A-Za-z]+://[A-Za-z0-9%;:&=+$,\-_.!~*'()\[\]@]*(?:[/?][!-~]*)?)"
    rb"(?: +HTTP/(0\.9|1\.0|1\.1|2\.0))?"
)
_REQUEST_LINE_BEGUN = re.compile(rb"[A-Z-]{0,13}(?: [ -~]*\r?)?")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_HEADER = re.compile(rb"(%b+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_HEADER_BEGUN = re.compile(rb"(?:%b+(?::[^\x00-\x08\x0a-\x1f\x7f]*)?)?\r?" % _TOKEN)
_EMPTY_LINES = re.compile(rb"[\r\n]*")
_CONTINUE = re.compile(rb"(?:^|\W)100-continue(?:\W|$)", re.IGNORECASE)
_DIGITS = re.compile(rb"0*([0-9]{1,20})")
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rb";(?:%b+|%b*=(?:%b*|%b))" % (_TOKEN, _TOKEN, _TOKEN, _QUOTED)
_CHUNK_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,16})(?:%b)*" % _EXTENSION)


class BadRequest(Exception):  # named for its status
    """Bytes that are no request; the connection closes after the answer.

    Attributes:
        status: 400, 408, 413, 417 or 431.
        bare: the answer is only a status line and `Connection: close`.
        to_head: it answers HEAD and has no body.
    """

    def __init__(self, status: int, *, bare: bool = True, to_head: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.bare = bare
        self.to_head = to_head


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


_BEGUN = {
    _State.CHUNK_SIZE: re.compile(rb"0*[0-9A-Fa-f]{0,16}(?:;[^\r\n]*)?\r?"),
    _State.CHUNK_END: re.compile(rb"\r?"),
    _State.TRAILERS: _HEADER_BEGUN,
}
"""What half a line may look like."""


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
        self._checked = 0
        self._counted = 0

    @property
    def is_between_requests(self) -> bool:
        """True when nothing of a next request has arrived."""
        return self._state is _State.HEAD and not self._buffer

    @property
    def is_in_body(self) -> bool:
        """True when a head is whole and its body is not."""
        return self._state is not _State.HEAD

    @property
    def is_discarding(self) -> bool:
        """True while the rest of a body is thrown away whose request was answered."""
        return self._oversized

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
        if buffer.startswith((b"\r", b"\n")):  # RFC 9112, 2.2: empty lines before a request are skipped
            del buffer[: len(_EMPTY_LINES.match(buffer)[0])]  # type: ignore[index]  # it matches nothing too
        end = buffer.find(b"\r\n\r\n", max(0, self._checked - 2))
        if end < 0:
            self._check_begun()
            return None
        line, *lines = bytes(buffer[:end]).split(b"\r\n")
        del buffer[: end + 4]
        self._checked = 0
        self._method, self._target, version = _request_line(line)
        if end >= HEAD_SIZE_MAX and len(self._target) + _size(lines) >= HEAD_SIZE_MAX:
            raise BadRequest(431)
        self._begin_body(_headers(lines), is_1_1=version == b"1.1")
        if self._oversized and self._state is _State.BODY:
            return self._too_large()
        if self._state is _State.HEAD:
            return self._finish()
        return None

    def _check_begun(self) -> None:
        """Refuse half a head as soon as it cannot become one: a client that speaks TLS waits for an answer.

        Whole lines are looked at once, so that a client that sends byte by byte costs little more than another.
        """
        buffer = self._buffer
        end = buffer.rfind(b"\r\n", self._checked)
        if end >= 0:
            lines = bytes(buffer[self._checked : end]).split(b"\r\n")
            if not self._checked:
                self._counted = len(_request_line(lines.pop(0))[1])
            _headers(lines)
            self._counted += _size(lines)
            self._checked = end + 2
        rest = bytes(buffer[self._checked :])
        if (_HEADER_BEGUN if self._checked else _REQUEST_LINE_BEGUN).fullmatch(
            rest, 0, HEAD_SIZE_MAX
        ) is None:
            raise BadRequest(400)
        if (self._counted if self._checked else 0) + len(rest) >= HEAD_SIZE_MAX + _UNCOUNTED:
            raise BadRequest(431)

    def _begin_body(self, headers: dict[bytes, bytes], *, is_1_1: bool) -> None:
        self._is_1_1 = is_1_1
        self._keep_alive = is_1_1 and b"close" not in _options(
            headers.get(b"connection", b""), headers.get(b"proxy-connection", b"")
        )
        if is_1_1 and b"host" not in headers:
            raise self._refusal(400)
        encoding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if encoding is not None:
            if length is not None or not _is_chunked(encoding):
                raise BadRequest(400)
            self._state = _State.CHUNK_SIZE
            self._trailers = 0
        elif length is not None:
            digits = _DIGITS.fullmatch(length)
            if digits is None or int(digits[1]) > LENGTH_MAX:
                raise BadRequest(400)
            self._left = int(digits[1])
            self._oversized = self._left > self._body_max
            if self._left:
                self._state = _State.BODY
        expectation = headers.get(b"expect")
        if expectation is not None and is_1_1:
            if _CONTINUE.search(expectation) is None:
                raise self._refusal(417)
            self.wants_continue = True

    def _refusal(self, status: int) -> BadRequest:
        """A refusal of a request whose head is whole."""
        return BadRequest(status, bare=False, to_head=self._method == "HEAD")

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
        end = buffer.find(b"\r\n", 0, HEAD_SIZE_MAX)
        if end < 0:
            self._check_line_begun()
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if self._state is _State.CHUNK_END:
            if line:
                raise BadRequest(400)
            self._state = _State.CHUNK_SIZE
        elif self._state is _State.CHUNK_SIZE:
            size = _CHUNK_LINE.fullmatch(line)
            if size is None:
                raise BadRequest(400)
            self._left = int(size[1], 16)
            self._state = _State.CHUNK if self._left else _State.TRAILERS
        else:
            self._read_trailer(line)
        return True

    def _check_line_begun(self) -> None:
        """Refuse half a line of a chunked body as soon as it cannot become one, or is too long."""
        buffer = self._buffer
        if _BEGUN[self._state].fullmatch(buffer, 0, HEAD_SIZE_MAX) is None:
            raise BadRequest(400)
        if len(buffer) >= HEAD_SIZE_MAX:
            raise BadRequest(413 if self._state is _State.CHUNK_SIZE else 431)

    def _read_trailer(self, line: bytes) -> None:
        self._trailers += len(line) + 2
        if self._trailers > HEAD_SIZE_MAX:
            raise BadRequest(431)
        if not line:
            self._state = _State.HEAD
            return
        header = _HEADER.fullmatch(line)
        if header is None or header[1].lower() in _FRAMING:
            raise BadRequest(400)


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Headers by lower-case name, repeated ones joined; a repeated length is refused."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise BadRequest(400)
        name, value = header[1].lower(), header[2].rstrip(b" ")
        if name not in headers:
            headers[name] = value
        elif name == b"content-length":
            raise BadRequest(400)
        else:
            headers[name] += b"," + value
    return headers


def _request_line(line: bytes) -> tuple[str, str, bytes | None]:
    """Method, target, version.

    Raises:
        BadRequest: it is none.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or match[1] not in METHODS:
        raise BadRequest(400)
    return match[1].decode(), match[2].decode(), match[3]


def _size(lines: list[bytes]) -> int:
    """Bytes of headers without `: `; each counts, so that there cannot be any number of them."""
    return sum(max(1, len(line) - 2) for line in lines)


def _options(*values: bytes) -> set[bytes]:
    """The words of headers that hold lists."""
    return {option.strip(b" \t").lower() for value in values for option in value.split(b",")}


def _is_chunked(encoding: bytes) -> bool:
    """True when chunks are the last coding, and only the last: else nobody could say where the body ends."""
    *others, last = (coding.strip(b" ").lower() for coding in encoding.split(b","))
    return last == b"chunked" and b"chunked" not in others
