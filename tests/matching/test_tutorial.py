"""The blocks of docs/tutorial/matching.md run, one after the other, and print what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "matching.md"


def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    promised = [said.split(",")[0].strip() for said in re.findall(r"print\(.*\) +# (.*)", "\n".join(blocks))]
    printed = capsys.readouterr().out
    assert promised
    assert all(f"\n{said}" in f"\n{printed}" for said in promised)
