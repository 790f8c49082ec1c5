"""Benchmarks run, and members agree at their ends. What they measure is nobody's business here."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.e2e
async def test_three_processes_end_with_one_digest(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        BENCHMARKS / "replication.py",
        *("--seconds", "0.2", "--no-rivals", "--durability", "os", "--data-dir", tmp_path, "--json", figures),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
    assert output.count(b"digest ") == 1
    rows = json.loads(figures.read_text())["os"]
    assert [row["load"]["submitters"] for row in rows] == [1, 1, 3, 1, 3]
    assert all(row["commands"] for row in rows)


@pytest.mark.e2e
async def test_a_newcomer_takes_a_snapshot_when_the_beginning_is_gone() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        BENCHMARKS / "joining.py",
        *("--commands", "150000", "--resting", "500"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"150,000" in output


async def test_virtual_time_is_measured() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        BENCHMARKS / "simulation.py",
        *("--seconds", "4"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"simulated seconds per second of one core" in output
