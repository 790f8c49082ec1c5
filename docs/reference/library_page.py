"""Writes `library.md`, the public names of the library, from their source: `python docs/reference/library_page.py`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

import dhtex

PAGE: Final = Path(__file__).with_name("library.md")

LINE_MAX: Final = 100

INTERNAL: Final = ("Called by ", "Made by ")
"""How the docstring begins of what other files of the package need, and nobody else."""

SECTIONS: Final = {
    "Take part": ("Peer", "Node", "Identity", "Founding", "Held", "Grape"),
    "Orders": ("Order", "Orders", "OrderStatus", "Result", "Position", "OpenOrder"),
    "Listen": ("TradeReport", "BookChange", "GroupEvent", "Depth", "Level"),
    "The engine alone": (
        *("MarketSpec", "MatchingEngine", "OrderId", "Place", "Amend", "Cancel", "CancelAll"),
        *("Side", "Kind", "TimeInForce", "SelfTrade"),
    ),
    "Errors": (
        *("DhtexError", "UsageError", "OrderError", "NotRunning", "Busy", "FellBehind", "LockLost"),
        *("PeerError", "NetworkError", "StorageError"),
    ),
}

HEAD: Final = """# Library

The public names of `dhtex`, by the first sentences of their docstrings; these say more: units, errors, sources. The
HTTP API is `dhtex.gateway.Gateway` ([reference](http-api.md)); every other error is in `dhtex.errors`, a subclass of
one of those below. This page is written by `python docs/reference/library_page.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [entry(name) for name in names]
    return "\n".join(parts)


def entry(name: str) -> str:
    """One public name."""
    subject = getattr(dhtex, name)
    about = _first_paragraph(subject.__doc__)
    text = f"### `{name}`\n\n{about}\n{_attributes(subject.__doc__)}"
    if issubclass(subject, Enum):
        return f"{text}\nMembers: {', '.join(f'`{member.name}`' for member in subject)}.\n"
    if issubclass(subject, Exception):
        return f"{text}\nExit code {subject.exit_code}.\n"
    bodies = ("\n".join(_members(base)).strip() for base in _described(subject))
    body = "\n\n".join(filter(None, bodies))
    return f"{text}\n```python\nclass {name}:\n{textwrap.indent(body, '    ')}\n```\n"


def _described(subject: type) -> Iterator[type]:
    """The class, and the bases that are ours: what they bring is public as well."""
    return (base for base in subject.__mro__ if base.__module__.startswith("dhtex."))


def _members(subject: type) -> Iterator[str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(subject))).body
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            if not ast.unparse(node.target).startswith("_"):
                yield ast.unparse(node).replace("'", '"')
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_abstract = "abstractmethod" in map(ast.unparse, node.decorator_list)
            is_internal = (ast.get_docstring(node) or "").startswith(INTERNAL)
            if not is_internal and (
                node.name == "__init__" or not (node.name.startswith("_") or is_abstract)
            ):
                yield ""
                yield from _function(node)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    yield from (f"@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    about = ast.get_docstring(node)
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    end = f" -> {ast.unparse(node.returns)}:" if node.returns is not None else ":"
    arguments = list(_arguments(node.args))
    line = f"{word} {node.name}({', '.join(arguments)}){end}".replace("'", '"')
    if len(line) > LINE_MAX:
        inner = "".join(f"    {argument},\n" for argument in arguments)
        line = f"{word} {node.name}(\n{inner}){end}".replace("'", '"')
    if about is None or node.name == "__init__":
        yield f"{line} ..."
    else:
        yield line
        yield f'    """{_first_paragraph(about)}"""'


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    yield from map(_argument, plain, [*defaults, *arguments.defaults])
    if arguments.vararg is not None:
        yield f"*{_argument(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    yield from map(_argument, arguments.kwonlyargs, arguments.kw_defaults)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation is not None else ""
    if default is None:
        return f"{argument.arg}{kind}"
    return f"{argument.arg}{kind}{' = ' if kind else '='}{ast.unparse(default)}"


def _attributes(docstring: str | None) -> str:
    """The part of a docstring that lists attributes, as a list."""
    _, _, after = inspect.cleandoc(docstring or "").partition("\nAttributes:\n")
    block = after.partition("\n\n")[0]
    items: list[str] = []
    for line in block.splitlines():
        if line.startswith("     "):
            items[-1] += " " + line.strip()
        elif line.startswith("    "):
            names, _, about = line.strip().partition(": ")
            items.append(f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {about}")
    return "".join(f"\n{item}" for item in ["", *items]).removeprefix("\n") + "\n" if items else ""


def _first_paragraph(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").split("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
