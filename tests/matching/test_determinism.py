"""One run, the same digests: under other hash seeds, other Python versions, and msgpack's pure-Python twin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from matching import digest_worker

ROOT = Path(__file__).parents[2]
EXPECTED = digest_worker.run()


def run_elsewhere(python: str, tmp_path: Path, **environment: str) -> str:
    """The worker's line from another interpreter, which gets this one's msgpack: its C part loads only in the same
    version, elsewhere its pure-Python twin does the work."""
    link = tmp_path / "msgpack"
    if not link.exists():
        link.symlink_to(Path(msgpack.__file__).parent)
    path = os.pathsep.join(map(str, (ROOT / "src", tmp_path, ROOT / "tests")))
    result = subprocess.run(
        [python, "-W", "error", "-m", "matching.digest_worker"],
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def find_python(version: str) -> str | None:
    """An interpreter of a version that starts, on the path or where pyenv keeps them; its shims may not start."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if (
            python
            and subprocess.run([python, "-c", ""], capture_output=True, timeout=60, check=False).returncode
            == 0
        ):
            return python
    return None


def test_the_run_has_events_of_every_kind() -> None:
    assert int(EXPECTED.split()[-1]) > 2_000


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_hash_seeds(seed: str, tmp_path: Path) -> None:
    assert run_elsewhere(sys.executable, tmp_path, PYTHONHASHSEED=seed) == EXPECTED


def test_pure_python_msgpack(tmp_path: Path) -> None:
    assert run_elsewhere(sys.executable, tmp_path, MSGPACK_PUREPYTHON="1") == EXPECTED


def test_without_asserts(tmp_path: Path) -> None:
    assert run_elsewhere(sys.executable, tmp_path, PYTHONOPTIMIZE="1") == EXPECTED


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_python_versions(version: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    assert run_elsewhere(python, tmp_path) == EXPECTED
