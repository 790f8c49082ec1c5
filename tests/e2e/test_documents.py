"""What README and docs tell people to type works as written, and so does every example."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dhtex.cli import main
from e2e.dhtex_process import Process, finished
from e2e.test_market import assert_agree, assert_quiet

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"grenache_mixed.py": "node"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WALK_PORTS = {"udp": (20001, 20002), "tcp": (30001, 40001)}


def blocks(path: Path, language: str) -> Iterator[str]:
    """The fenced blocks of *language* in a document."""
    return (text for kind, text in _BLOCK.findall(path.read_text(encoding="utf-8")) if kind == language)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def following_text(path: Path, block: str) -> str:
    """The `text` block right after *block*: what it prints."""
    after = path.read_text(encoding="utf-8").partition(block)[2]
    found = _BLOCK.search(after)
    assert found is not None
    assert found[1] == "text"
    return found[2]


def run_program(*command: str, cwd: Path, stdin: str | None = None) -> str:
    """Run a program that ends by itself and has nothing to say on standard error; its output."""
    done = finished(sys.executable, *command, cwd=cwd, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_program_in_the_readme_prints_what_the_readme_says(tmp_path: Path) -> None:
    (program,) = blocks(ROOT / "README.md", "python")
    assert run_program("-c", program, cwd=tmp_path) == following_text(ROOT / "README.md", program)


@pytest.mark.parametrize("path", [pytest.param(path, id=named(path)) for path in DOCUMENTS])
def test_every_python_block_is_python(path: Path) -> None:
    for block in blocks(path, "python"):
        tree = compile(block, named(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dhtex"):
                names = ", ".join(alias.name for alias in node.names)
                exec(f"from {node.module} import {names}", {})


def commands(path: Path) -> Iterator[list[str]]:
    """What the document has people type after a `$`, as far as it is this command."""
    for block in blocks(path, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                for place in (i for i, word in enumerate(words) if word == "dhtex"):
                    ends = [
                        i for i, word in enumerate(words) if word in ("|", "&&", ";", "&", ">") and i > place
                    ]
                    yield words[place + 1 : ends[0] if ends else None]


@pytest.mark.parametrize("path", [pytest.param(path, id=named(path)) for path in DOCUMENTS])
def test_every_command_and_option_exists(path: Path) -> None:
    """`--help` after the rest: click reads what stands before it first, and refuses what it does not know."""
    for words in commands(path):
        done = CliRunner().invoke(main, [*words, "--help"])
        assert done.exit_code == 0, f"dhtex {shlex.join(words)}: {done.output}"
        named_options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert all(option in done.output for option in named_options), f"dhtex {shlex.join(words)}"


@pytest.mark.parametrize("path", [pytest.param(path, id=named(path)) for path in DOCUMENTS])
def test_no_grape_of_a_document_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an API that would be public; made, and not run."""
    monkeypatch.setattr("dhtex.cli.grape.run", lambda _: 0)
    for words in commands(path):
        if words[:1] == ["grape"]:
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, f"dhtex {shlex.join(words)}: {done.output} {done.exception}"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in EXAMPLES])
def test_every_example_runs(path: Path, tmp_path: Path) -> None:
    needed = NEEDS.get(path.name)
    if needed is not None and shutil.which(needed) is None:
        pytest.skip(f"there is no {needed} here")
    assert run_program(str(path), cwd=tmp_path)


def taken_port() -> str:
    """A port of the walk-through that another program has; empty when all are free."""
    for kind, ports in _WALK_PORTS.items():
        for port in ports:
            sort = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET, sort) as probe:
                if sort is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the HTTP server does
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    return f"{kind} port {port}"
    return ""


def test_the_five_terminals_of_the_readme(tmp_path: Path) -> None:
    if taken := taken_port():
        pytest.skip(f"the walk-through needs {taken}, which another program has")
    typed = [
        words
        for words in commands(ROOT / "README.md")
        if words[:1] in (["grape"], ["peer"]) and len(words) > 1
    ]
    grapes = [words for words in typed if words[0] == "grape"]
    peers = [words for words in typed if words[0] == "peer"]
    assert len(grapes) == 2
    assert [words[-1] for words in peers] == ["alice", "bob", "carol"]
    with contextlib.ExitStack() as stack:
        for number, words in enumerate(grapes):
            stack.enter_context(Process(tmp_path, f"grape-{number}", *words)).hear_event("started")
        own = ("--data-dir", str(tmp_path / "data"))
        alice, bob, carol = (
            stack.enter_context(Process(tmp_path, words[-1], *words, *own, dev=False)) for words in peers
        )
        for process in (alice, bob, carol):
            process.hear_view(3)
        alice.do("sell 100 50")
        assert bob.do("buy 30 50")["fills"] == [{"price": "50.00", "quantity": "30"}]
        assert carol.do("buy 100 50")["fills"] == [{"price": "50.00", "quantity": "70"}]
        # It crosses Carol's own bid, so nothing trades: one does not trade with oneself.
        assert carol.do("sell 30 49.5")["fills"] == []
        assert assert_agree({"alice": alice, "bob": bob, "carol": carol}) == 4
        for process in (alice, bob, carol):
            assert process.end() == 0
            assert_quiet(process)
