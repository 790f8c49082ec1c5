"""Nobody floods, nobody grows without bound."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Final

from dhtex.simulation.checks.violation import Violation
from dhtex.simulation.plan import SECOND

DATAGRAMS_PER_SECOND_MAX: Final = 20_000
"""Of one peer, to all others together. Far above what any healthy run needs; a message storm passes it."""
BYTES_PER_COMMAND_MAX: Final = 4_096
"""Memory a replica may keep for each command ever submitted, by far: entries, history, indices."""
BYTES_MAX: Final = 4 * 1024 * 1024
"""Memory a replica may keep beside that."""

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)


class BoundsChecker:
    """Counts what every peer sends, and weighs replicas.

    Attributes:
        datagrams: sent so far by all peers.
        most: the most datagrams one peer sent within a second.
    """

    def __init__(self) -> None:
        self.datagrams = 0
        self.most = 0
        self._window: dict[str, tuple[int, int]] = {}

    def sent(self, name: str, at: int, datagrams: int) -> None:
        """*name* sends so many datagrams at true time *at*."""
        self.datagrams += datagrams
        second = at // SECOND
        known, count = self._window.get(name, (second, 0))
        count = count + datagrams if known == second else datagrams
        self._window[name] = second, count
        if count > self.most:
            self.most = count
            if count > DATAGRAMS_PER_SECOND_MAX:
                raise Violation("message-bound", f"{name} sent {count} datagrams within a second")

    @staticmethod
    def weigh(name: str, replica: object, commands: int) -> None:
        """A replica must not hold more than its share."""
        size = deep_size(replica)
        limit = BYTES_MAX + BYTES_PER_COMMAND_MAX * commands
        if size > limit:
            raise Violation("memory-bound", f"{name} holds {size:,} bytes after {commands} commands")


def deep_size(root: object) -> int:
    """Bytes of everything that can be reached from *root*, code and classes left out."""
    seen = {id(root)}
    todo = [root]
    total = 0
    while todo:
        item = todo.pop()
        total += sys.getsizeof(item)
        for child in gc.get_referents(item):
            if id(child) not in seen and not isinstance(child, _SHARED):
                seen.add(id(child))
                todo.append(child)
    return total
