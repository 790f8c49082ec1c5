"""What the original Grape 1.0.0 answers on Node 20, beyond the recording: bodies and framing.

Found by sending the same bytes to both; `test_facts.py` sends them to ours always and to the original where Node is.
Only answers that are the same belong here; what differs is in `docs/reference/grape-http.md`.
"""

from __future__ import annotations

ANSWERS: tuple[tuple[str, str, str, int, str], ...] = (
    # Grape, path, body, status, answer; in this order, at one network
    ("A", "announce", '{"rid":null,"data":["s1",1]}', 200, "1"),
    ("A", "announce", '{"rid":{"a":[1]},"data":["s1",2],"more":1}', 200, "1"),
    ("A", "announce", '{"data":["s1",9],"data":["s1",3.0]}', 200, "1"),
    ("A", "announce", ' {"data":["s1",4e0,"x"]}\r\n', 200, "1"),
    ("B", "lookup", '{"data":"s1"}', 200, '["127.0.0.1:1","127.0.0.1:2","127.0.0.1:3","127.0.0.1:4"]'),
    ("A", "announce", '{"data":["s2",65535]}', 200, "1"),
    ("A", "announce", '{"data":["s2","80"]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":["s2",true]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":["s2",[80]]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":["s2",80.5]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":["s2",1e400]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":[null,null]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":[]}', 200, '"ERR_GRAPE_SERVICE_PORT"'),
    ("A", "announce", '{"data":{"0":"s2","1":80}}', 200, '"ERR_GRAPE_ANNOUNCE"'),
    ("A", "announce", '{"data":0}', 200, '"ERR_GRAPE_ANNOUNCE"'),
    (
        "A",
        "announce",
        '{"data":[["115"," 0x33 ",351.9,-157,null,[99],[true],true,"1e1","1_0","inf"],1]}',
        200,
        "1",
    ),
    ("B", "lookup", '{"data":"s3_c\\u0000c\\u0000\\u0001\\n\\u0000\\u0000"}', 200, '["127.0.0.1:1"]'),
    ("A", "announce", '{"data":[{"type":"Buffer","data":[115,52]},1]}', 200, "1"),
    ("B", "lookup", '{"data":"s4"}', 200, '["127.0.0.1:1"]'),
    ("A", "announce", '{"data":["a\\ud800b",1]}', 200, "1"),
    ("B", "lookup", '{"data":"a\\ufffdb"}', 200, '["127.0.0.1:1"]'),
    ("A", "announce", '{"data":["☃ é😀",1]}', 200, "1"),
    ("B", "lookup", '{"data":"\\u2603 \\u00e9\\ud83d\\ude00"}', 200, '["127.0.0.1:1"]'),
    ("A", "announce", '{"data":["[1,2]",7]}', 200, "1"),
    ("B", "lookup", '{"data":"[1,2]"}', 200, '["127.0.0.1:7"]'),
    ("A", "lookup", '{"data":0}', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '{"data":["s1"]}', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '{"data":{"length":1}}', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '{"rid":"x"}', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", "[]", 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", "5", 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '[{"data":"s1"}]', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '{"__proto__":{"data":"s1"}}', 200, '"ERR_GRAPE_LOOKUP"'),
    ("A", "lookup", '{"data":"nobody",}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    ("A", "lookup", '{"data":01}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    ("A", "lookup", '{"data":NaN}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    ("A", "lookup", '{"data":"a\ttab"}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    ("A", "lookup", '\ufeff{"data":"s1"}', 500, "ERR_GRAPE_PAYLOAD_INVALID"),
    ("A", "nope", '{"data":"s1"}', 200, '"ERR_REQ_NOTFOUND"'),
    ("A", "toString", '{"data":"s1"}', 200, '"ERR_REQ_NOTFOUND"'),
    ("A", "lookup/", '{"data":"nobody"}', 200, '"ERR_REQ_NOTFOUND"'),
    ("A", "lookup?", '{"data":"nobody"}', 200, '"ERR_REQ_NOTFOUND"'),
    ("A", "look%75p", '{"data":"nobody"}', 200, '"ERR_REQ_NOTFOUND"'),
    ("A", "_lookup-", '{"data":"nobody"}', 200, "[]"),
    ("A", "put", '{"data":""}', 200, '"b44b82a4bc6c35f6ad5e9fceefef9509c17fba74"'),
    ("A", "put", '{"data":{"v":[]}}', 200, '"593b743b207e10ff55ec63e71a46c07909d0880a"'),
    ("A", "put", '{"data":{"v":-1.5}}', 200, '"76d8edb077ecae64907d68e006d42e21befef4d3"'),
    ("A", "put", '{"data":{"v":1e21}}', 200, '"02cac8761cc408edaf50664e1a38fcc279a68736"'),
    ("A", "put", '{"data":{"v":true}}', 200, '"1c9d0d26a5211fc7a715823784aaafaeaf7e88c7"'),
    (
        "A",
        "put",
        '{"data":{"v":[1,"a",null,true,1.5,[2],{"b":1}]}}',
        200,
        '"f4d976f187f6e25cb5b23ba97cf6b8ce04091492"',
    ),
    ("A", "put", '{"data":{"v":{"b":1,"a":{"c":null}}}}', 200, '"05136a55c4015a3a4aa355537e8025c68b913753"'),
    (
        "A",
        "put",
        '{"data":{"v":{"type":"Buffer","data":[1,2,3]}}}',
        200,
        '"d782fedec2cc6126c3ff401affc4bd26a9e01683"',
    ),
    (
        "A",
        "put",
        '{"data":{"v":[{"type":"Buffer","data":[1]}]}}',
        200,
        '"b25d894d746ee36039b3ed66ff972b14bc70fc40"',
    ),
    ("A", "put", '{"data":{"v":"a\\ud800b"}}', 200, '"6f47ae8c602ea2be16828a1ac0fe5dbc5ef7db35"'),
    ("A", "put", '{"data":{"v":"\\ud83d\\ude00"}}', 200, '"ffca5c136c67c6c0585172d6738d18b3999eee56"'),
    (
        "A",
        "put",
        '{"data":{"v":"x","seq":"a","cas":"b","salt":5,"sig":[]}}',
        200,
        '"ab9c6a62e28dfec67c4f220290a2348d7841fadf"',
    ),
    ("A", "put", '{"data":{"v":"x","k":""}}', 200, '"ab9c6a62e28dfec67c4f220290a2348d7841fadf"'),
    ("A", "put", '{"data":[]}', 200, '"opts.v not given"'),
    ("A", "put", '{"data":5}', 200, '"opts.v not given"'),
    ("A", "put", '{"data":{"v":"x","k":[]}}', 200, '"opts.k ed25519 public key must be 32 bytes"'),
    (
        "A",
        "put",
        '{"data":{"v":"x","k":"00","cas":"1","seq":null}}',
        200,
        '"opts.cas must be an integer if provided"',
    ),
    ("A", "get", '{"data":{"hash":5}}', 200, '"ERR_GRAPE_GENERIC"'),
    ("A", "get", '{"data":{"hash":["16"]}}', 200, '"ERR_GRAPE_GENERIC"'),
    ("A", "get", '{"data":[]}', 200, '"ERR_GRAPE_GENERIC"'),
    ("A", "get", '{"data":{"type":"Buffer","data":[1,2]}}', 200, '"ERR_GRAPE_GENERIC"'),
    (
        "B",
        "get",
        '{"data":{"hash":"AB9C6A62E28DFEC67C4F220290A2348D7841FADFz"}}',
        200,
        '{"id":"*","token":"*","v":"x"}',
    ),
)

FAILS: tuple[tuple[str, str], ...] = (
    # path, body: status 500, and a text that is an exception's there and a sentence here
    ("announce", '{"data":[5,1]}'),
    ("announce", '{"data":[{},1]}'),
    ("put", '{"data":{"k":5}}'),
    ("put", '{"data":{"v":"x","k":true}}'),
    ("put", '{"data":{"v":"x","k":"00","sig":{}}}'),
    ("put", '{"data":{"v":"x","k":"00","salt":{}}}'),
    ("put", '{"data":null}'),
    ("get", '{"data":null}'),
    ("get", '{"data":{"hash":5,"salt":5}}'),
    ("lookup", "null"),
)

BODY = b'{"data":"svc"}'
LENGTH = b"Content-Length: 14\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"


def _head(
    extra: bytes = LENGTH, *, line: bytes = b"POST /lookup HTTP/1.1", host: bytes = b"Host: g\r\n"
) -> bytes:
    return line + b"\r\n" + host + extra + b"\r\n"


def _answer(status: bytes, body: bytes, *, close: bool = False, length: bool = True) -> bytes:
    return (
        b"HTTP/1.1 "
        + status
        + b"\r\nDate: *\r\n"
        + (b"Connection: close\r\n" if close else b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n")
        + (b"Content-Length: %d\r\n" % len(body) if length else b"")
        + b"\r\n"
        + body
    )


def _bare(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n"


_FOUND = _answer(b"200 OK", b'["127.0.0.1:5"]')
_LAST = _answer(b"200 OK", b'["127.0.0.1:5"]', close=True)
_OLD = _answer(b"200 OK", b'["127.0.0.1:5"]', close=True, length=False)
_UNKNOWN = _answer(b"200 OK", b'"ERR_REQ_NOTFOUND"')
_BROKEN = _answer(b"500 Internal Server Error", b"ERR_GRAPE_PAYLOAD_INVALID")
_BAD = _bare(b"400 Bad Request")
_LARGE = _bare(b"431 Request Header Fields Too Large")
_NO_HOST = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nDate: *\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
_REQUEST = _head() + BODY

GOES_ON: dict[str, tuple[bytes, bytes]] = {
    # bytes, and what comes back before the connection goes on
    "two in one go": (_REQUEST * 2, _FOUND * 2),
    "line ends before": (b"\r\n\n\r" + _REQUEST, _FOUND),
    "line ends between": (_REQUEST + b"\n\r\r\n" + _REQUEST, _FOUND * 2),
    "spaces in the request line": (_head(line=b"POST   /lookup  HTTP/1.1") + BODY, _FOUND),
    "an asterisk": (_head(line=b"OPTIONS * HTTP/1.1") + BODY, _UNKNOWN),
    "a whole URL": (_head(line=b"POST http://[::1]:5/lookup HTTP/1.1") + BODY, _UNKNOWN),
    "a URL of another kind": (_head(line=b"POST x://?lookup HTTP/1.1") + BODY, _UNKNOWN),
    "odd characters in the target": (_head(line=b'POST /{^|"<>`\\#?# HTTP/1.1') + BODY, _UNKNOWN),
    "no length": (_head(b""), _BROKEN),
    "an empty body": (_head(b"Content-Length: 0\r\n"), _BROKEN),
    "a length with zeros": (_head(b"Content-Length: 0000000000000000000000000014\r\n") + BODY, _FOUND),
    "a length with spaces": (_head(b"Content-Length: \t 14  \r\n") + BODY, _FOUND),
    "chunks": (_head(CHUNKED) + CHUNKS, _FOUND),
    "chunks by another name": (_head(b"Transfer-Encoding: CHUNKED \r\n") + CHUNKS, _FOUND),
    "chunks after another coding": (_head(b"Transfer-Encoding: gzip,chunked\r\n") + CHUNKS, _FOUND),
    "chunks in a second header": (
        _head(b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n") + CHUNKS,
        _FOUND,
    ),
    "a chunk size with zeros": (_head(CHUNKED) + b"0" * 30 + b"E" + CHUNKS[1:], _FOUND),
    "chunk extensions": (_head(CHUNKED) + b'e;a;b=c;d="e \\" f";g=;=' + CHUNKS[1:], _FOUND),
    "a long chunk extension": (_head(CHUNKED) + b"e;" + b"a" * 15_000 + CHUNKS[1:], _FOUND),
    "trailers": (_head(CHUNKED) + CHUNKS[:-2] + b"A: " + b"b" * 15_000 + b"\r\nC:\r\n\r\n", _FOUND),
    "HEAD": (_head(line=b"HEAD /lookup HTTP/1.1") + BODY, _answer(b"200 OK", b"", length=False)),
    "PUT": (_head(line=b"PUT /lookup HTTP/1.1") + BODY, _FOUND),
    "expecting more than to go on": (
        _head(b"Expect: 100-Continue, x\r\n" + LENGTH) + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" + _FOUND,
    ),
    "a connection that is closed, not close": (_head(b"Connection: closed\r\n" + LENGTH) + BODY, _FOUND),
    "close and another word": (_head(b"Connection: close keep-alive\r\n" + LENGTH) + BODY, _FOUND),
    "the longest head": (
        _head(b"X: " + b"x" * (16_383 - len("/lookupHostgXContent-Length14")) + b"\r\n" + LENGTH)
        + BODY,
        _FOUND,
    ),
    "many headers": (_head(b"A:b\r\n" * 2_500 + LENGTH) + BODY, _FOUND),
}  # fmt: skip

CLOSES: dict[str, tuple[bytes, bytes]] = {
    # bytes, and all that comes back
    "close": (_head(b"Connection: x, Close \r\n" + LENGTH) + BODY, _LAST),
    "close in a second header": (
        _head(b"Connection: keep-alive\r\nConnection: close\r\n" + LENGTH) + BODY,
        _LAST,
    ),
    "close for a proxy": (_head(b"Proxy-Connection: close\r\n" + LENGTH) + BODY, _LAST),
    "HTTP/1.0": (_head(line=b"POST /lookup HTTP/1.0", host=b"") + BODY, _OLD),
    "HTTP/1.0 that keeps alive": (
        _head(b"Connection: keep-alive\r\n" + LENGTH, line=b"POST /lookup HTTP/1.0") + BODY,
        _OLD,
    ),
    "HTTP/1.0 in chunks": (_head(CHUNKED, line=b"POST /lookup HTTP/1.0") + CHUNKS, _OLD),
    "HTTP/2.0": (_head(line=b"POST /lookup HTTP/2.0", host=b"") + BODY, _OLD),
    "no version": (_head(line=b"POST /lookup", host=b"") + BODY, _OLD),
    "no host": (_head(b"", host=b""), _NO_HOST),
    "no host, HEAD": (
        _head(b"", line=b"HEAD / HTTP/1.1", host=b""),
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nDate: *\r\n\r\n",
    ),
    "no host after another": (_REQUEST + _head(b"", host=b""), _FOUND + _NO_HOST),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", _BAD),
    "no HTTP": (b"SSH-2.0-x", _BAD),
    "line feeds only": (b"POST /lookup HTTP/1.1\nHost: g\n\n", _BAD),
    "a line feed in the head": (b"POST /lookup HTTP/1.1\r\nHost: g\r\n\n", _BAD),
    "half a header that is none": (b"POST /lookup HTTP/1.1\r\nHost: g\r\n{", _BAD),
    "half a trailer that is none": (_head(CHUNKED) + CHUNKS[:-2] + b" a", _BAD),
    "carriage returns only": (b"POST /lookup HTTP/1.1\rHost: g\r\r", _BAD),
    "a target without slash": (_head(line=b"POST lookup HTTP/1.1"), _BAD),
    "a query without path": (_head(line=b"POST ?lookup HTTP/1.1"), _BAD),
    "half a URL": (_head(line=b"POST http:/lookup HTTP/1.1"), _BAD),
    "a URL with an odd host": (_head(line=b"POST http://a^b/ HTTP/1.1"), _BAD),
    "bytes that are no text": (_head(line=b"POST /look\xc3\xbcp HTTP/1.1"), _BAD),
    "an end of the line without version": (_head(line=b"POST /lookup "), _BAD),
    "another version": (_head(line=b"POST /lookup HTTP/1.2"), _BAD),
    "letters for a length": (_head(b"Content-Length: 0x0e\r\n"), _BAD),
    "a length and a tab": (_head(b"Content-Length: 14\t\r\n"), _BAD),
    "the same length twice": (_head(LENGTH * 2), _BAD),
    "a length beyond 64 bits": (_head(b"Content-Length: 18446744073709551616\r\n"), _BAD),
    "length and chunks": (_head(LENGTH + CHUNKED), _BAD),
    "chunks before another coding": (_head(b"Transfer-Encoding: chunked, gzip\r\n"), _BAD),
    "another coding": (_head(b"Transfer-Encoding: gzip\r\n"), _BAD),
    "chunks and a tab": (_head(b"Transfer-Encoding: chunked\t\r\n"), _BAD),
    "no chunk size": (_head(CHUNKED) + b"g", _BAD),
    "a chunk size beyond 64 bits": (_head(CHUNKED) + b"10000000000000000\r\n", _BAD),
    "a space after the chunk size": (_head(CHUNKED) + b"e \r\n", _BAD),
    "an empty chunk extension": (_head(CHUNKED) + b"e;\r\n", _BAD),
    "an open quote in a chunk extension": (_head(CHUNKED) + b'e;a="\r\n', _BAD),
    "a chunk extension too long": (_head(CHUNKED) + b"e;" + b"a" * 17_000, _bare(b"413 Payload Too Large")),
    "a chunk longer than said": (_head(CHUNKED) + b"e\r\n" + BODY + b"x", _BAD),
    "a length in the trailers": (_head(CHUNKED) + CHUNKS[:-2] + b"Content-Length: 1\r\n", _BAD),
    "trailers too long": (_head(CHUNKED) + CHUNKS[:-2] + b"A: " + b"b" * 17_000, _LARGE),
    "a head too long by a byte": (
        _head(b"X: " + b"x" * (16_384 - len("/lookupHostgXContent-Length14")) + b"\r\n" + LENGTH),
        _LARGE,
    ),
    "a target too long": (b"POST /" + b"x" * 17_000, _LARGE),
}  # fmt: skip
