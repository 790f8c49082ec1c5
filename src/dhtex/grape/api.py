"""The HTTP API of a Grape: what Grenache clients say and hear, answer for answer.

`POST /announce`, `/unannounce`, `/lookup`, `/put`, `/get` take `{"rid": ..., "data": ...}`; answers are JSON.
As with the original, an error is a JSON text with status 200, or with the number of a BEP 44 error as its
status; a body that is no JSON is 500 and a bare text. Where the original shows an exception of JavaScript,
this says what is wrong, with the same status. `docs/reference/grape-http.md` lists every answer and every
difference.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from dhtex.dht import DhtNode, Item, bencode, key_of
from dhtex.dht.addresses import PORT_MAX, format_address
from dhtex.dht.directory import Kept
from dhtex.dht.face import Address
from dhtex.dht.items import PUBLIC_KEY_SIZE, SALT_SIZE_MAX, SEQ_MAX, VALUE_SIZE_MAX
from dhtex.dht.wire import NODE_ID_SIZE
from dhtex.errors import DhtexError, NetworkError, RpcError, UsageError
from dhtex.grape import javascript as js
from dhtex.grape.http1 import Request
from dhtex.grape.server import Response

log = logging.getLogger(__name__)

VALUE_LENGTH_MAX = 1_000
PAYLOAD_INVALID = Response(500, b"ERR_GRAPE_PAYLOAD_INVALID")
PAYLOAD_SIZE = Response(413, b"ERR_GRAPE_PAYLOAD_SIZE")
ALL_FAILED = "All queries failed"
_OK = Response(200, b"1")
_NULL = Response(200, b"null")

Answer = Response | Awaitable[Response]


def _error(text: str) -> Response:
    """An error as the original tells it: status 200 and a JSON text."""
    return Response(200, js.to_json(text))


def _broken(text: str) -> Response:
    """Where the original fails with an exception: status 500 and a bare text."""
    return Response(500, text.encode())


class Api:
    """Answers requests from one DHT node."""

    def __init__(self, node: DhtNode, pages: dict[str, Callable[[], Response]]) -> None:
        """An API.

        Args:
            pages: answers to GET without a body, by target: metrics and health.
        """
        self._node = node
        self._pages = pages
        self.counts: dict[str, int] = {}
        self._handlers: dict[str, Callable[[Any], Answer]] = {
            "Announce": self.announce,
            "Unannounce": self.unannounce,
            "Lookup": self.lookup,
            "Put": self.put,
            "Get": self.get,
        }

    def handle(self, request: Request) -> Answer:
        """The answer to *request*, now or later; never raises."""
        if request.too_large:
            return PAYLOAD_SIZE
        if not request.body and request.method in ("GET", "HEAD"):
            page = self._pages.get(request.target)
            if page is not None:
                return page()
        try:
            message = js.parse_json(request.body.decode("utf-8", "replace"))
        except ValueError:
            return PAYLOAD_INVALID
        if message is None:
            return _broken("the body is null; send a JSON object with a field data")
        data = message.get("data", js.MISSING) if isinstance(message, dict) else js.MISSING
        name = js.handler_name(request.target)
        handler = self._handlers.get(name)
        if handler is None:
            return _error("ERR_REQ_NOTFOUND")
        self.counts[name] = self.counts.get(name, 0) + 1
        try:
            answer = handler(data)
        except Exception:
            log.exception("a bug: %s failed", name)
            return _broken("ERR_GRAPE_GENERIC")
        return answer if isinstance(answer, Response) else self._guarded(name, answer)

    async def _guarded(self, name: str, answer: Awaitable[Response]) -> Response:
        try:
            return await answer
        except RpcError as error:
            status = int(error.code) if error.code in ("301", "302") else 200
            return Response(status, js.to_json(f"{error.code} {error.text}" if status != 200 else ALL_FAILED))
        except NetworkError:
            return _error(ALL_FAILED)
        except DhtexError as error:
            return _error(str(error))
        except Exception:
            log.exception("a bug: %s failed", name)
            return _broken("ERR_GRAPE_GENERIC")

    # --- names ---

    def announce(self, data: Any) -> Answer:
        """`[name, port]` -> how many other Grapes keep it; 1 at a lone Grape, which keeps it itself."""
        service = _service(data)
        if isinstance(service, Response):
            return service
        kept = self._node.announced(*service)
        return self._announce(*service) if kept is None else _kept(kept)

    async def _announce(self, key: bytes, port: int) -> Response:
        return _kept(await self._node.announce_once(key, port))

    def unannounce(self, data: Any) -> Answer:
        """`[name, port]` -> 1; not in the original."""
        service = _service(data)
        return service if isinstance(service, Response) else self._unannounce(*service)

    async def _unannounce(self, key: bytes, port: int) -> Response:
        await self._node.unannounce(key, port)
        return _OK

    def lookup(self, data: Any) -> Answer:
        """`name` -> `["127.0.0.1:1337", ...]`."""
        if not isinstance(data, str) or not data:
            return _error("ERR_GRAPE_LOOKUP")
        key = key_of(js.to_utf8(data))
        known = self._node.lookup_known(key)
        return self._lookup(key) if known is None else _addresses(known)

    async def _lookup(self, key: bytes) -> Response:
        return _addresses(await self._node.lookup(key))

    # --- items ---

    def put(self, data: Any) -> Answer:
        """A text, `{v}`, or `{v, k, seq, sig, salt?, cas?}` -> the key in hex."""
        if data is None or data is js.MISSING:
            return _broken("no data to put; send an object with a field v")
        options = {"v": data} if isinstance(data, str) else data if isinstance(data, dict) else {}
        try:
            item, cas = _item(options)
        except _Broken as broken:
            return _broken(broken.text)
        except _Refused as refused:
            return _error(refused.text)
        if not item.is_mutable and self._node.is_put(item.key):
            return _key(item)
        return self._put(item, cas)

    async def _put(self, item: Item, cas: int | None) -> Response:
        try:
            await self._node.put(item, cas=cas)
        except UsageError as error:
            log.debug("refused an item: %s", error)
            return _error(ALL_FAILED)
        return _key(item)

    def get(self, data: Any) -> Answer:
        """The key in hex, or `{hash, salt?}` -> `{id, token, v, ...}`, null when nobody has it."""
        if data is None or data is js.MISSING:
            return _broken("no key to get; send its hex, or an object with a field hash")
        salt: bytes | None = None
        if isinstance(data, str):
            key = js.read_buffer(data, is_hex=True)
        elif isinstance(data, dict):
            given = data.get("hash")
            key = js.hex_bytes(given) if isinstance(given, str) else None
            try:
                salt = _buffer(data, "salt")
            except _Broken as broken:
                return _broken(broken.text)
        else:
            key = None
        if key is None:
            return _error("ERR_GRAPE_GENERIC")
        if len(key) != NODE_ID_SIZE:
            return _NULL
        return self._get(key, salt)

    async def _get(self, key: bytes, salt: bytes | None) -> Response:
        found = await self._node.get_from(key)
        if found is None:
            return _NULL
        item, holder = found
        if salt is not None and item.is_mutable and item.salt != salt:
            return _NULL
        answer: dict[str, Any] = {
            "id": holder.hex(),
            "token": None if holder == self._node.node_id else _token(holder, key),
            "v": js.text_of(bencode.decode(item.v)),
        }
        if item.is_mutable:
            answer |= {"sig": item.sig.hex(), "k": item.k.hex(), "seq": item.seq}
            if salt is not None:
                answer["salt"] = salt.decode("utf-8", "replace")
        return Response(200, js.to_json(answer))


def _key(item: Item) -> Response:
    return Response(200, b'"%b"' % item.key.hex().encode())


def _token(holder: bytes, key: bytes) -> str:
    """Forty hex digits where the original shows the token of the node that answered; good for nothing, as
    there.
    """
    return hashlib.blake2b(holder + key, digest_size=20).hexdigest()


def _kept(kept: Kept) -> Response:
    return Response(200, b"%d" % max(1, kept.others))


def _addresses(addresses: list[Address]) -> Response:
    return Response(200, js.to_json([format_address(address) for address in addresses]))


def _service(data: Any) -> tuple[bytes, int] | Response:
    """The key and port of `[name, port]`, or why not."""
    if not isinstance(data, list):
        return _error("ERR_GRAPE_ANNOUNCE")
    port = js.as_integer(data[1]) if len(data) > 1 else None
    if port is None:
        return _error("ERR_GRAPE_SERVICE_PORT")
    name = js.buffer_of(data[0])
    if name is None:
        return _broken("ERR_GRAPE_ANNOUNCE: the name must be a text or a list of bytes")
    if not 0 <= port <= PORT_MAX:
        return _error(ALL_FAILED)
    return key_of(name), port


class _Refused(Exception):  # an answer
    def __init__(self, text: str) -> None:
        self.text = text


class _Broken(_Refused):
    pass


def _item(options: dict[str, Any]) -> tuple[Item, int | None]:
    """The item to put, its fields checked in the order of the original, whose texts clients match."""
    k = _buffer(options, "k")
    sig, salt = (None, None) if k is None else (_buffer(options, "sig"), _buffer(options, "salt"))
    v = options.get("v")
    if v is None:
        raise _Refused("opts.v not given")
    if isinstance(v, (str, list)) and (js.length(v) if isinstance(v, str) else len(v)) >= VALUE_LENGTH_MAX:
        raise _Refused("v must be less than 1000 bytes in put()")
    try:
        value = js.to_bencode_value(v)
        encoded = b"" if value is None else bencode.encode(value)
    except (ValueError, RecursionError) as error:
        raise _Refused("v is nested too deep") from error
    if len(encoded) > VALUE_SIZE_MAX:
        raise _Refused("v must be less than 1000 bytes in put()")
    return (Item(encoded), None) if k is None else _mutable_item(options, encoded, k, sig, salt or b"")


_BUFFERS = {"k": "the hex of a public key", "sig": "the hex of a signature", "salt": "a text"}
"""Fields of bytes and what they are when they are not the JSON of a Buffer."""


def _buffer(options: dict[str, Any], name: str) -> bytes | None:
    """A field of bytes, None where it is not given.

    Raises:
        _Broken: it is something else; the original fails with an exception.
    """
    given = options.get(name)
    if not js.is_truthy(given):
        return None
    found = js.read_buffer(given, is_hex=name != "salt")
    if found is None:
        raise _Broken(f"opts.{name} must be {_BUFFERS[name]}")
    return found


def _mutable_item(
    options: dict[str, Any], encoded: bytes, k: bytes, sig: bytes | None, salt: bytes
) -> tuple[Item, int | None]:
    cas = options.get("cas", js.MISSING)
    if cas is not js.MISSING and not js.is_number(cas):
        raise _Refused("opts.cas must be an integer if provided")
    if len(k) != PUBLIC_KEY_SIZE:
        raise _Refused("opts.k ed25519 public key must be 32 bytes")
    if sig is None:
        raise _Refused("opts.sign function or options.sig signature is required for mutable put")
    if len(salt) > SALT_SIZE_MAX:
        raise _Refused("opts.salt is > 64 bytes long")
    seq = options.get("seq", js.MISSING)
    if seq is js.MISSING:
        raise _Refused("opts.seq not provided for a mutable update")
    if not js.is_number(seq):
        raise _Refused("opts.seq not an integer")
    return Item(encoded, k, salt, _seq(seq), sig), None if cas is js.MISSING else _seq(cas)


def _seq(value: float) -> int:
    number = js.to_bencode_value(value)
    return number if isinstance(number, int) and abs(number) <= SEQ_MAX else 0
