"""What `import dhtex` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dhtex


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in dhtex.__all__:
        assert getattr(dhtex, name).__doc__, name
    assert set(dhtex.__all__) <= set(dir(dhtex))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = dhtex.Nothing


@pytest.mark.parametrize("room", ["dhtex", "dhtex.matching"])
def test_the_engine_alone_loads_no_network_and_no_loop(room: str) -> None:
    code = (
        f"import sys, {room}; print(*sorted({{'asyncio', 'socket', 'aiohttp', 'nacl'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
