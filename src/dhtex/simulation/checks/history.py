"""One history for all: whoever finalizes an entry first writes it down, and everybody else must agree."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgpack

from dhtex.replication import CommandBatch, StateMachine, View
from dhtex.replication.effects import Finalized
from dhtex.simulation.checks.violation import Violation

_SIGNATURE: Final = 64
_HEADER: Final = struct.Struct(">I20sQQQH")
_START: Final = bytes(32)


class Line(NamedTuple):
    """One final entry as the first replica reported it."""

    body: bytes
    position: int
    skip: int
    digest: bytes


@dataclass(eq=False)
class Group:
    """The history of everything that came from one founding."""

    machine: StateMachine
    views: dict[int, View] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=lambda: {_START: 0})
    """Digest -> number of lines it stands for."""
    positions: int = 0
    last_n: dict[bytes, int] = field(default_factory=dict)
    last_key: tuple[int, bytes] = (0, b"")
    view: int = 0
    counted: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """(view, origin) -> entries that became final."""


@dataclass
class _Reader:
    """How far one process has reported."""

    group: Group | None = None
    index: int = 0


@dataclass
class _Submitter:
    """What one peer was given and what it said it would keep."""

    commands: dict[int, Any] = field(default_factory=dict)
    accepted: int = 0


class HistoryChecker:
    """Agreement, order, exactly once, nothing lost, equal digests.

    Attributes:
        groups: one, unless two peers could not see each other when they founded.
        commands_submitted: by all peers together.
    """

    def __init__(
        self,
        make_machine: Callable[[], StateMachine],
        on_final: Callable[[bytes, View], None],
        foundings_max: int,
    ) -> None:
        """Args: *on_final* is told body and view of every entry when it is final for the first time."""
        self.groups: list[Group] = []
        self._make_machine = make_machine
        self._on_final = on_final
        self._foundings_max = foundings_max
        self._by_view_id: dict[bytes, Group] = {}
        self._readers: dict[str, _Reader] = {}
        self._founded: dict[str, Group] = {}
        self._submitters: dict[bytes, _Submitter] = {}
        self._liars: set[bytes] = set()
        self.commands_submitted = 0

    # -- what peers are given --------------------------------------------------------------------------------

    def submitted(self, name: str, node_id: bytes, first_n: int, commands: bytes) -> None:
        """A peer took *commands* and numbered them from *first_n*."""
        submitter = self._submitters.setdefault(node_id, _Submitter())
        if first_n <= submitter.accepted:
            raise Violation(
                "command-numbers",
                f"{name} gives number {first_n} again, it had accepted up to {submitter.accepted}",
            )
        given = msgpack.unpackb(commands)
        self.commands_submitted += len(given)
        for n, command in enumerate(given, first_n):
            submitter.commands[n] = command

    def accepted(self, name: str, node_id: bytes, first_n: int, count: int) -> None:
        """A peer said that it will see these commands through."""
        submitter = self._submitters.setdefault(node_id, _Submitter())
        if first_n + count - 1 not in submitter.commands:
            raise Violation("command-numbers", f"{name} accepted {first_n}+{count}, which nobody submitted")
        submitter.accepted = max(submitter.accepted, first_n + count - 1)

    def forget_accepted(self, node_id: bytes) -> None:
        """The peer lost its disk: what was accepted and not final is nobody's promise any more."""
        submitter = self._submitters.setdefault(node_id, _Submitter())
        submitter.accepted = 0

    def lies(self, node_id: bytes) -> None:
        """The peer may sign other commands than it was given; they count as long as all agree on them."""
        self._liars.add(node_id)

    def unfinished(self, node_id: bytes) -> int:
        """How many accepted commands of a peer are not final anywhere yet."""
        submitter = self._submitters.get(node_id)
        if submitter is None:
            return 0
        final = max((group.last_n.get(node_id, 0) for group in self.groups), default=0)
        return max(0, submitter.accepted - final)

    # -- what processes report -------------------------------------------------------------------------------

    def started(self, name: str, *, belongs: bool) -> None:
        """A process begins; it will report from the start, or from a snapshot.

        Args:
            belongs: its disk knows of a group. If not, a crash has undone its founding, which counts no more unless
                others have come to rely on it.
        """
        self._readers[name] = _Reader()
        founded = self._founded.pop(name, None)
        if founded is None or belongs or founded.lines or len(founded.views) > 1:
            return
        if all(reader.group is not founded for reader in self._readers.values()):
            self.groups.remove(founded)
            del self._by_view_id[founded.views[1].id]

    def group_of(self, name: str) -> Group | None:
        """Which history a process follows."""
        reader = self._readers.get(name)
        return None if reader is None else reader.group

    def behind(self, name: str) -> int:
        """How many final entries a process has not reported yet."""
        reader = self._readers[name]
        return len(reader.group.lines) - reader.index if reader.group else 0

    def restored(self, name: str, view: View | None, position: int, digest: bytes) -> None:
        """A process goes on in *view* from a place it did not report its way to: a restart, or a snapshot."""
        if view is None:
            if position or digest != _START:
                raise Violation("snapshot", f"{name} restored position {position} without a view")
            return
        group = self._by_view_id.get(view.id)
        index = None if group is None else group.places.get(digest)
        if group is None or index is None:
            raise Violation("snapshot", f"{name} restored position {position}, which nobody ever reached")
        if (found := _last_position(group, index)) != position:
            raise Violation("snapshot", f"{name} restored position {position}, its digest belongs to {found}")
        reader = self._readers[name]
        if reader.group not in {None, group} or index < reader.index:
            raise Violation("snapshot", f"{name} went back to position {position}")
        self._readers[name] = _Reader(group, index)

    def installed(self, name: str, view: View) -> None:
        """A process installed a view."""
        group = self._by_view_id.get(view.id)
        if group is None:
            group = self._new_view(name, view)
        reader = self._readers[name]
        if reader.group is None:
            reader.group = group
        elif reader.group is not group:
            raise Violation("one-history", f"{name} went from one founding to another")

    def _new_view(self, name: str, view: View) -> Group:
        if view.number == 1:
            group = Group(self._make_machine())
            self.groups.append(group)
            self._founded[name] = group
            if len(self.groups) > self._foundings_max:
                raise Violation("founding", f"{name} founded a second group")
        else:
            parent = self._by_view_id.get(view.parent)
            if parent is None:
                raise Violation(
                    "views", f"{name} installed view {view.number}, whose parent nobody installed"
                )
            group = parent
        known = group.views.get(view.number)
        if known is not None:
            raise Violation(
                "one-view", f"{name} installed a view {view.number} other than the one already installed"
            )
        group.views[view.number] = view
        self._by_view_id[view.id] = group
        return group

    def finalized(self, name: str, effect: Finalized) -> None:
        """A process reports the next final entry."""
        reader = self._readers[name]
        group = reader.group
        body = effect.entry.raw[_SIGNATURE:]
        if group is None:
            raise Violation("views", f"{name} finalized an entry before it installed a view")
        if reader.index == len(group.lines):
            self._append(name, group, Line(body, effect.position, effect.skip, effect.digest))
        else:
            line = group.lines[reader.index]
            if line.body != body:
                raise Violation(
                    "one-history",
                    f"{name} has {_describe(body)} as final entry {reader.index + 1}, "
                    f"others have {_describe(line.body)}",
                )
            if (line.position, line.skip, line.digest) != (effect.position, effect.skip, effect.digest):
                raise Violation(
                    "equal-digests", f"{name} differs at position {line.position} ({_describe(body)})"
                )
        reader.index += 1

    def _append(self, name: str, group: Group, line: Line) -> None:
        number, origin, seq, timestamp, first_n, count = _HEADER.unpack_from(line.body)
        what = f"{name} finalized {_describe(line.body)}"
        view = group.views.get(number)
        if view is None or origin not in view.index:
            raise Violation("views", f"{what}, whose origin is not a member of an installed view {number}")
        if (timestamp, origin) <= group.last_key or number < group.view:
            raise Violation("ascending", f"{what} after {group.last_key[0]} of {group.last_key[1][:4].hex()}")
        if timestamp <= view.floor:
            raise Violation("ascending", f"{what}, not above the floor {view.floor}")
        if number > group.view:
            self._closed(name, group, number)
        expected = group.counted.get((number, origin), 0) + 1
        if seq != expected:
            raise Violation("no-holes", f"{what} where entry {expected} of that origin was next")
        self._commands(what, group, line)
        body = line.body
        events = b""
        if line.skip < count:
            batch = CommandBatch(origin, first_n, count, timestamp, body[_HEADER.size :])
            events = group.machine.apply(batch, group.positions + 1, line.skip)
        before = group.lines[-1].digest if group.lines else _START
        digest = hashlib.blake2b(before, digest_size=32)
        digest.update(len(body).to_bytes(4, "big") + body + events)
        if line.digest != digest.digest():
            raise Violation(
                "equal-digests", f"{what} with a digest that does not follow from what was before"
            )
        group.counted[number, origin] = seq
        group.last_key, group.view = (timestamp, origin), number
        group.positions += count - line.skip
        group.lines.append(line)
        group.places[line.digest] = len(group.lines)
        self._on_final(line.body, view)

    def _commands(self, what: str, group: Group, line: Line) -> None:
        _, origin, _, _, first_n, count = _HEADER.unpack_from(line.body)
        last = group.last_n.get(origin, 0)
        skip = max(0, min(count, last + 1 - first_n))
        if first_n > last + 1:
            raise Violation("exactly-once", f"{what}: commands {last + 1} to {first_n - 1} are missing")
        if line.skip != skip or (skip < count and line.position != group.positions + 1):
            raise Violation(
                "exactly-once", f"{what} with skip {line.skip} at {line.position}, should be {skip}"
            )
        group.last_n[origin] = max(last, first_n + count - 1)
        if origin in self._liars:
            return
        known = self._submitters.get(origin)
        commands = msgpack.unpackb(line.body[_HEADER.size :])
        if len(commands) != count:
            raise Violation("exactly-once", f"{what} with {len(commands)} commands instead of {count}")
        for n, command in enumerate(commands[skip:], first_n + skip):
            if known is None or known.commands.get(n) != command:
                raise Violation("exactly-once", f"{what}: command {n} is not what its peer was given")

    def _closed(self, name: str, group: Group, number: int) -> None:
        """Before the first entry of view *number*, the views before it must be final up to their cuts."""
        for closed in range(max(group.view, 1), number):
            successor = group.views.get(closed + 1)
            if successor is None:
                raise Violation("views", f"{name} finalized in view {number}, nobody installed {closed + 1}")
            for origin, seq in zip(group.views[closed].node_ids, successor.cut, strict=True):
                final = group.counted.get((closed, origin), 0)
                if final != seq:
                    raise Violation(
                        "cut",
                        f"view {closed} ended with {final} entries of {origin[:4].hex()}, the cut is {seq}",
                    )


def _last_position(group: Group, index: int) -> int:
    if index == 0:
        return 0
    line = group.lines[index - 1]
    count = _HEADER.unpack_from(line.body)[5]
    return int(line.position + count - line.skip - 1)


def _describe(body: bytes) -> str:
    view, origin, seq, timestamp, first_n, count = _HEADER.unpack_from(body)
    return f"entry {view}/{origin[:4].hex()}/{seq} at {timestamp} (commands {first_n}+{count})"
