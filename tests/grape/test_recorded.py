"""Plays the answers recorded from the original against a fresh network of two Grapes.

The recording lies beside the checkout (or where DHTEX_SHARED says). It leaves out some requests whose effect it shows;
`BEFORE` has them. Where dhtex answers otherwise, `DEVIATIONS` has its answer; the reasons are in
`docs/reference/grape-http.md`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dhtex.grape import Grape
from grape.raw import RawClient, RawResponse, post

SHARED = Path(os.environ.get("DHTEX_SHARED", Path(__file__).parents[3] / "shared"))
RECORDING = SHARED / "data" / "grape-http-cases.json"

K1 = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
SIG_3 = (
    "7dabb78a4cf5c7c1608377e7c7755a0ad6879438a8599dc9f6cae62a373417996fedc670ed8bf3f44f91f057b8217ebc"
    "ea36603dd5c2b9f1271c67053612e708"
)
SIG_DIGITS = (
    "927e700353a5c8597c2ec5db0802fb40f649fbf97091decdac640c0c1d08dc9cca35108e7e73725f619ee87a4a43027d"
    "6050336b71fb13e58b606a9142de6e06"
)
SIG_SALTED_2 = (
    "1aec12f0b1c56cfb21e3dae8d4a7baf28083fb722a6928d3810e1dcd63dbf6783ce170e0b6a07a9db389648e8bee4f67"
    "3554af03c75df130218fe8b2f309e30a"
)

BEFORE: dict[str, tuple[str, Any]] = {
    "lookup-port-0": ("/announce", ["svc0", 0]),
    "get-empty-v": ("/put", {"v": ""}),
    "get-string-data": ("/put", "plain string"),
    "get-v-600-2byte-A": ("/put", {"v": "é" * 600}),
    "m-get-3": ("/put", {"v": "hello 3", "k": K1, "seq": 3, "sig": SIG_3, "cas": 2}),
    "m-get-salt-digits": ("/put", {"v": "digit salt", "k": K1, "seq": 1, "sig": SIG_DIGITS, "salt": "123"}),
    "m-put-buffer-json": (
        "/put",
        {"v": "salted 2", "k": K1, "seq": 2, "sig": SIG_SALTED_2, "salt": "foobar"},
    ),
}

ITEM_1 = {
    "id": "*",
    "token": "*",
    "v": "hello 1",
    "k": K1,
    "seq": 1,
    "sig": (
        "6a65948d7a50b0bd3590e0c298b7efafbd6aa2fdc175144abe8dd94528356192c62c00848f1be1e9b9be68b6ffc39e53"
        "cefa3ba28e3ea65838d26033e397a208"
    ),
}
ITEM_4 = ITEM_1 | {
    "v": "hello 4",
    "seq": 4,
    "sig": (
        "1fd569e70d3e8cbdd8227542c1b7e1ea8463ebd0313e4e7110eec5c2fc9b0ccdd59f1b3b495ee67cd57adfecc50f1d0b"
        "aa6152391a03395c4aa240fd94e52b03"
    ),
}

DEVIATIONS: dict[str, tuple[int, Any]] = {
    "announce-name-null": (500, "ERR_GRAPE_ANNOUNCE: the name must be a text or a list of bytes"),
    "put-null-v": (200, "opts.v not given"),
    "put-no-data": (500, "no data to put; send an object with a field v"),
    "get-unknown-object": (200, None),
    "get-malformed-zz": (200, None),
    "get-long-hex": (200, None),
    "get-39-hex": (200, None),
    "get-object-hash-zz": (200, None),
    "get-null": (500, "no key to get; send its hex, or an object with a field hash"),
    "cli-mutable-put": (200, "9ad19e0f16eef714cb90c6f195dbce66e94580f9"),
    "cli-mutable-get-B": (200, ITEM_1),
    "body-json-null": (500, "the body is null; send a JSON object with a field data"),
    "body-8193": (413, "ERR_GRAPE_PAYLOAD_SIZE"),
    "body-5M": (413, "ERR_GRAPE_PAYLOAD_SIZE"),
    "m-get-4-B": (200, ITEM_4),
    "m-get-salt-wrong": (200, None),
}


def _cases() -> list[dict[str, Any]]:
    if not RECORDING.exists():
        return []
    cases: list[dict[str, Any]] = json.loads(RECORDING.read_text())
    return cases


def _request_bytes(case: dict[str, Any]) -> bytes:
    """The request as it was sent; the recording shortens long ones and shows bytes that are no text as escapes."""
    text: str = case["request"]
    if case["id"] == "header-20k":
        return (text[: text.index("p" * 9)] + "p" * 20_000 + '\r\n\r\n{"rid":"x","data":"svcf"}').encode()
    if text.endswith(" bytes)"):
        head, _, _ = text.partition("\r\n\r\n")
        found = re.search(r"Content-Length: (\d+)", head)
        assert found is not None
        padding = int(found[1]) - len('{"rid":"","data":"svcf"}')
        return f'{head}\r\n\r\n{{"rid":"{"r" * padding}","data":"svcf"}}'.encode()
    return text.encode().replace(rb"\xff\xfe", b"\xff\xfe")


def _read(body: bytes | str) -> Any:
    """A body as a client reads it: JSON if it is any, else text; ids, tokens and the order of addresses are random."""
    text = body if isinstance(body, str) else body.decode()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and "id" in value:
        assert re.fullmatch(r"[0-9a-f]{40}", value["id"])
        assert value["token"] is None or re.fullmatch(r"[0-9a-f]{40}", value["token"])
        return value | {"id": "*", "token": "*"}
    return sorted(value) if isinstance(value, list) else value


@contextlib.asynccontextmanager
async def _two_grapes() -> AsyncIterator[dict[str, Grape]]:
    async with Grape() as a, Grape(bootstrap=[a.dht_address]) as b:
        await b.ready()
        yield {"A": a, "B": b}


def _check_framing(case: dict[str, Any], response: RawResponse) -> None:
    if case["id"] in ("no-host-11", "bad-request-line", "te-and-cl", "header-20k"):
        assert response.headers["connection"] == "close"
        return
    assert "date" in response.headers
    if " HTTP/1.0\r\n" in case["request"]:
        assert response.headers["connection"] == "close"
        assert "content-length" not in response.headers
    else:
        assert response.headers["connection"] == "keep-alive"
        assert response.headers["keep-alive"] == "timeout=5"
        assert ("content-length" in response.headers) == (case["method"] != "HEAD")
    assert response.interim == ((100,) if case["id"] == "expect-100" else ())


@pytest.mark.skipif(
    not RECORDING.exists(), reason=f"the recording is not at {RECORDING}; DHTEX_SHARED says where"
)
@pytest.mark.parametrize("network", ["stock", "with signature check"])
async def test_every_recorded_answer(network: str) -> None:
    wrong: list[str] = []
    played = 0
    async with _two_grapes() as grapes:
        for case in _cases():
            if case["network"] != network:
                continue
            played += 1
            if case["id"] in BEFORE:
                path, data = BEFORE[case["id"]]
                assert (await post(grapes["A"].http_address, path, data)).status == 200
            async with await RawClient.open(grapes[case["grape"]].http_address) as client:
                client.send(_request_bytes(case))
                response = await client.response(is_head=case["method"] == "HEAD")
            expected = DEVIATIONS.get(case["id"], (case["status"], _read(case["body"])))
            if case["id"] == "lookup-port-0":
                expected = 200, [grapes["A"].dht_address]
            got = response.status, _read(response.body)
            if got != expected:
                wrong.append(f"{case['id']}: {got} instead of {expected}")
            _check_framing(case, response)
    assert not wrong
    assert played == {"stock": 98, "with signature check": 26}[network]
