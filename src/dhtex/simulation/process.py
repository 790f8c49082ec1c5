"""One peer: a replica that is started, crashed, paused and started again, with its disk, clocks and sockets.

Does what `dhtex.peer` does, in the same order: feed an input, carry out the effects, arm the timer.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Final

from dhtex.errors import Busy, JournalFull, NotRunning
from dhtex.identity import NODE_ID_SIZE, Signer, short_id
from dhtex.replication import Candidate, Decision, Now, Replica, decide
from dhtex.replication.effects import (
    Accepted,
    Destination,
    DigestMismatch,
    Effect,
    Equivocation,
    Finalized,
    GroupConflict,
    Persist,
    PromiseBroken,
    ReadArchive,
    Restored,
    Role,
    RoleChanged,
    Send,
    ViewInstalled,
)
from dhtex.replication.messages import Message
from dhtex.replication.records import Appended
from dhtex.replication.values import NO_LINEAGE
from dhtex.simulation.checks import Violation
from dhtex.simulation.disk import Disk
from dhtex.simulation.liar import TwoFaces
from dhtex.simulation.plan import MILLISECOND, NodePlan
from dhtex.simulation.timepieces import Timepiece

if TYPE_CHECKING:
    from dhtex.simulation.network import Datagram
    from dhtex.simulation.world import World

GROUP_ID: Final = b"simulated".ljust(NODE_ID_SIZE, b"\x00")
SOCKET_MESSAGES_MAX: Final = 2_000
"""What a paused process finds in its socket when it goes on; the rest was dropped by the system."""
LOOK_INTERVAL: Final = 700 * MILLISECOND
"""How often a peer that is in no group looks around."""
_STEPS_MAX: Final = 10_000
_SEARCHING: Final = {Role.FOUNDING, Role.OBSERVING, Role.JOINING, Role.EVICTED, Role.LEFT}


class Process:
    """A peer's place in the world; the replica in it comes and goes.

    Attributes:
        index: its place in the plan.
        name: one letter.
        replica: None while it is down.
        wiped: it lost its disk and is no member again yet.
        gone: it left, or stays down for good.
        starts: how often it was started.
    """

    def __init__(
        self, world: World, index: int, *, plan: NodePlan, signer: Signer, timepiece: Timepiece, disk: Disk
    ) -> None:
        self.index = index
        self.name = plan.name
        self.plan = plan
        self.node_id = signer.node_id
        self.destination = Destination(signer.public_key, f"{plan.name}.sim:1")
        self.timepiece = timepiece
        self.disk = disk
        self.replica: Replica | None = None
        self.paused = False
        self.gone = False
        self.wiped = False
        self.leaving = False
        self.starts = 0
        self._world = world
        self._signer = signer
        self._life = 0  # timers and looks of earlier lives mean nothing
        self._armed: int | None = None
        self._deadline = -1  # what it was armed for last
        self._driving = False
        self._inbox: deque[tuple[int, list[Message]]] = deque()
        self._owed: deque[int] = deque()  # tickets that became durable during a pause
        self._faces: TwoFaces | None = None

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process with what is on the disk."""
        if self.replica is not None or self.gone:
            return
        world = self._world
        recovered = self.disk.recover(self.node_id)
        self._life += 1
        self.starts += 1
        self.paused = False
        self.leaving = False
        self._driving = False
        self._armed = None
        self._inbox.clear()
        self._owed.clear()
        world.history.started(self.name, belongs=recovered.view is not None)
        self.replica = world.replica_class(
            GROUP_ID,
            self._signer,
            world.make_machine(),
            world.plan.config,
            random.Random(world.rng.getrandbits(64)),
            self.timepiece.read(world.now),
            address=self.destination.address,
            recovered=recovered,
        )
        self.disk.user = self
        world.note(self.name, f"starts, {len(self.disk.records)} records on its disk")
        self._drive()
        life = self._life
        world.after(50 * MILLISECOND, lambda: self._look_around(life))

    def crash(self) -> None:
        """The process is gone from one instruction to the next."""
        if self.replica is None:
            return
        self._world.note(self.name, "crashes")
        self.replica = None
        self._life += 1
        self.disk.crash()
        self._world.board.went_down(self.index)

    def pause(self) -> bool:
        """Stand still; False when it did already, or is down."""
        if self.replica is None or self.paused:
            return False
        self._world.note(self.name, "stands still")
        self.paused = True
        return True

    def resume(self) -> None:
        """Go on: late timers first, then what waits in the socket."""
        if self.replica is None or not self.paused:
            return
        self._world.note(self.name, "goes on")
        self.paused = False
        self._armed = None
        self.replica.tick(self._now())
        self._drive()
        while self._owed and self.replica is not None:
            self.synced(self._owed.popleft())
        while self._inbox and self.replica is not None:
            self.receive(*self._inbox.popleft())

    def lie(self, deceived: frozenset[int]) -> None:
        """From now on, tell those that are *deceived* another story than the rest."""
        own = [
            (record.entry.view, record.entry.seq)
            for record in self.disk.records
            if isinstance(record, Appended) and record.entry.origin == self.node_id
        ]
        self._world.note(self.name, "begins to lie")
        self._faces = TwoFaces(self._signer, GROUP_ID, deceived, max(own, default=(0, 0)))

    def leave(self) -> None:
        """Leave the group in order."""
        if self.replica is not None and not self.paused and self.replica.role is Role.MEMBER:
            self._world.note(self.name, "wants to leave")
            self.leaving = True
            self.replica.leave(self._now())
            self._drive()

    @property
    def active(self) -> bool:
        """Up and running."""
        return self.replica is not None and not self.paused

    # -- inputs ----------------------------------------------------------------------------------------------

    def submit(self, commands: bytes, count: int) -> None:
        """A user's commands."""
        replica = self.replica
        if replica is None or self.paused or self.leaving or self.wiped or self.plan.observer:
            return
        world = self._world
        try:
            first_n = replica.submit(commands, count, self._now())
        except (Busy, JournalFull, NotRunning) as error:
            world.note(self.name, f"refuses {count} commands: {type(error).__name__}")
        else:
            if world.trace is not None:
                world.note(self.name, f"takes commands n={first_n}+{count}")
            world.history.submitted(self.name, self.node_id, first_n, commands)
        self._drive()

    def receive(self, source: int, messages: list[Message]) -> None:
        """A datagram."""
        replica = self.replica
        if replica is None:
            return
        if self.paused:
            if len(self._inbox) < SOCKET_MESSAGES_MAX:
                self._inbox.append((source, messages))
            return
        world = self._world
        sender = world.processes[source].destination
        if world.trace is not None:
            for message in messages:
                world.trace.message(world.now, self.name, "<-", world.processes[source].name, message)
        replica.receive(sender.public_key, sender.address, messages, self.timepiece.read(world.now))
        self._drive()

    def synced(self, ticket: int) -> None:
        """Everything up to *ticket* is durable."""
        if self.replica is None:
            return
        if self.paused:
            self._owed.append(ticket)
            return
        self.replica.persisted(ticket, self._now())
        self._drive()

    def disk_full(self) -> None:
        """The journal cannot write."""
        if self.replica is not None:
            self._world.note(self.name, "has no room on its disk")
            self.replica.storage_full(self._now())
            self._drive()

    def disk_ok(self) -> None:
        """The journal can write again."""
        if self.replica is not None:
            self._world.note(self.name, "has room on its disk again")
            self.replica.storage_ok(self._now())
            self._drive()

    # -- effects ---------------------------------------------------------------------------------------------

    def _now(self) -> Now:
        return self.timepiece.read(self._world.now)

    def _drive(self) -> None:
        """Carry out everything the replica wants, then arm its timer."""
        replica = self.replica
        if replica is None or self._driving:
            return
        world = self._world
        self._driving = True
        steps = 0
        outgoing: dict[int, Datagram] = {}
        while effects := replica.take_effects():
            steps += 1
            if steps > _STEPS_MAX:
                raise Violation("storm", f"{self.name} never stops wanting more")
            for effect in effects:
                if type(effect) is Send:
                    self._send(effect, outgoing)
                elif type(effect) is Persist:
                    self.disk.write(effect)
                elif type(effect) is ReadArchive:
                    items = self.disk.read_archive(self.node_id, effect.after, effect.limit_bytes)
                    replica.archive(effect.request, items, self._now())
                else:
                    self._told(effect)
        self._driving = False
        for target, datagram in outgoing.items():
            world.network.send(self.index, target, datagram)
        if outgoing:
            world.bounds.sent(self.name, world.now, len(outgoing))
        if self.leaving and replica.role is Role.LEFT:
            self._close()
        else:
            self._arm(replica.next_deadline)

    def _send(self, effect: Send, outgoing: dict[int, Datagram]) -> None:
        world = self._world
        message = effect.message
        world.wire.sent(self.name, self.node_id, message)
        world.durability.sent(self.name, self.node_id, message)
        frame = world.codec.encode(message)
        received = world.codec.decode(frame)
        for destination in effect.to:
            target = world.index_of.get(destination.public_key)
            if self._faces is not None and target is not None:
                frame = world.codec.encode(self._faces.turned(target, message))
                received = world.codec.decode(frame)
            if target is None or target == self.index:
                raise Violation("address", f"{self.name} sends {type(message).__name__} to nobody or itself")
            if world.trace is not None:
                other = world.processes[target].name
                world.trace.message(world.now, self.name, "->", other, message)
            outgoing.setdefault(target, []).append((frame, received))

    def _told(self, effect: Effect) -> None:
        world = self._world
        if world.trace is not None:
            world.trace.effect(world.now, self.name, effect)
        if self._faces is not None:
            return
        match effect:
            case Finalized():
                world.history.finalized(self.name, effect)
            case Accepted(first_n=first_n, count=count):
                world.history.accepted(self.name, self.node_id, first_n, count)
            case ViewInstalled():
                world.view_installed(self.name, effect.view)
                self._announce()
            case Restored(position=position, digest=digest):
                view = self.replica.view if self.replica is not None else None
                world.history.restored(self.name, view, position, digest)
            case RoleChanged(role=role):
                if role is Role.MEMBER:
                    self.wiped = False
            case Equivocation(origin=origin) | PromiseBroken(origin=origin):
                if origin not in world.liars:
                    raise Violation(
                        "equivocation", f"{self.name} has proof against {short_id(origin)}, who is honest"
                    )
            case DigestMismatch(node_id=node_id, position=position):
                raise Violation(
                    "equal-digests", f"{self.name} and {short_id(node_id)} differ at position {position}"
                )
            case GroupConflict() if len(world.history.groups) < 2:
                raise Violation("founding", f"{self.name} sees a second group where there is one")

    def _arm(self, deadline: int) -> None:
        if deadline == self._deadline and self._armed is not None:
            return
        self._deadline = deadline
        at = self.timepiece.when(deadline)
        now = self._world.now
        if at <= now:
            at = now + 1
        if self._armed is None or at < self._armed:
            self._armed = at
            self._world.schedule(at - now, self._timer, (self._life, at))

    def _timer(self, armed: tuple[int, int]) -> None:
        life, at = armed
        if life != self._life or at != self._armed or self.paused or self.replica is None:
            return
        self._armed = None
        now = self._now()
        if self.replica.next_deadline <= now.monotonic:
            self.replica.tick(now)
            self._drive()
        else:
            self._arm(self.replica.next_deadline)

    def _close(self) -> None:
        """It left, and ends in order."""
        self._world.note(self.name, "has left and ends")
        self._world.board.withdraw(self.index)
        self.replica = None
        self._life += 1
        self.gone = True
        self.disk.close()

    def _announce(self) -> None:
        """Members and members-to-be are to be found; observers serve nobody."""
        replica = self.replica
        if replica is not None and not self.plan.observer:
            number = 0 if replica.view is None else replica.view.number
            self._world.board.announce(self.index, Candidate(self.node_id, number))

    def _look_around(self, life: int) -> None:
        """Announce first, look up second (`design: Founding without two founders`)."""
        replica = self.replica
        if life != self._life or replica is None:
            return
        world = self._world
        world.after(LOOK_INTERVAL, lambda: self._look_around(life))
        if self.paused:
            return
        self._announce()
        if replica.role not in _SEARCHING and replica.has_quorum:
            return
        seen = world.board.look_up(self.index)
        contacts = [world.processes[index].destination for index, found in seen.items() if found.view]
        now = self._now()
        if self.plan.observer:
            if contacts:
                replica.observe(contacts, now)
        elif replica.view is not None:
            replica.join(contacts, now)
        else:
            decision = decide(self.node_id, seen.values())
            if decision is Decision.JOIN:
                replica.join(contacts, now)
            elif decision is Decision.FOUND and replica.lineage == NO_LINEAGE:
                replica.found(now)  # also when it meant to join a group, of which it never heard a word
        self._drive()
