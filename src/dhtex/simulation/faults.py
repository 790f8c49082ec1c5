"""Carries out what a plan says: each kind of `Op` by its own method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dhtex.simulation.plan import (
    Blackout,
    Crash,
    Cut,
    Divide,
    Full,
    Leave,
    Op,
    Pause,
    Rejoin,
    Slow,
    StepClock,
    Submit,
    Wipe,
)

if TYPE_CHECKING:
    from dhtex.simulation.world import World


class Faults:
    """What happens to the peers of a world.

    Attributes:
        clock_lead: how far any wall clock ever was ahead of true time, microseconds; so may timestamps be.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.clock_lead = max(node.skew for node in world.plan.nodes)
        self._lost: set[bytes] = set()
        self._how: dict[type[Op], Callable[[Any], None]] = {
            Submit: self._submit,
            Crash: self._crash,
            Blackout: self._blackout,
            Wipe: self._wipe,
            Pause: self._pause,
            StepClock: self._step,
            Cut: self._cut,
            Slow: self._slow,
            Full: self._full,
            Leave: self._leave,
            Rejoin: self._rejoin,
            Divide: self._divide,
        }

    def happen(self, op: Op) -> None:
        """Let *op* happen now."""
        self._how[type(op)](op)

    def _submit(self, op: Submit) -> None:
        process = self._world.processes[op.node]
        left, batch_max = op.count, self._world.plan.config.entry_commands_max
        while process.active and left:
            count = min(left, batch_max)
            process.submit(self._world.workload.commands(process.node_id, count), count)
            left -= count

    def _crash(self, op: Crash) -> None:
        process = self._world.processes[op.node]
        if process.replica is not None:
            process.crash()
            self._world.after(op.lasts, process.start)

    def _blackout(self, op: Blackout) -> None:
        for process in self._world.processes:
            if process.replica is not None:
                process.crash()
                self._world.after(op.lasts, process.start)

    def _wipe(self, op: Wipe) -> None:
        """Only while every majority survives it: no protocol outlives the loss of a majority of disks."""
        world = self._world
        process = world.processes[op.node]
        views = [max(group.views.items())[1] for group in world.history.groups if group.views]
        lost = self._lost | {process.node_id}
        joining = set() if process.plan.observer else {process.node_id}  # its former self may yet be let in
        groups = [joining.union(view.node_ids) for view in views]
        if process.replica is None or any(2 * (len(lost & group) + 1) > len(group) for group in groups):
            return
        self._lost = lost
        world.note(process.name, "loses its disk")
        process.crash()
        process.disk.wipe()
        process.wiped = True
        world.durability.wiped(process.node_id)
        world.wire.wiped(process.node_id)
        world.history.forget_accepted(process.node_id)
        world.after(op.lasts, process.start)

    def _pause(self, op: Pause) -> None:
        process = self._world.processes[op.node]
        if process.pause():
            self._world.after(op.lasts, process.resume)

    def _step(self, op: StepClock) -> None:
        process = self._world.processes[op.node]
        process.timepiece.step(op.delta)
        self._world.note(process.name, f"clock set by {op.delta / 1e6:+.3f} s")
        self.clock_lead = max(self.clock_lead, process.timepiece.skew)

    def _cut(self, op: Cut) -> None:
        names = [process.name for process in self._world.processes]
        links = " ".join(sorted(f"{names[a]}{names[b]}" for a, b in op.links))
        self._world.note("", f"cut for {op.lasts / 1e6:.3f} s: {links}")
        self._world.network.cut(op.links)
        self._world.after(op.lasts, lambda: self._world.network.mend(op.links))

    def _slow(self, op: Slow) -> None:
        disk = self._world.processes[op.node].disk
        disk.extra += op.extra
        self._world.after(op.lasts, lambda: disk.set_extra(max(0, disk.extra - op.extra)))

    def _full(self, op: Full) -> None:
        disk = self._world.processes[op.node].disk
        disk.set_full(True)
        self._world.after(op.lasts, lambda: disk.set_full(False))

    def _leave(self, op: Leave) -> None:
        """Unless nobody would be left: a group without members is no group."""
        process = self._world.processes[op.node]
        group = self._world.history.group_of(process.name)
        if (
            process.active
            and group is not None
            and any(
                other is not process
                and not other.gone
                and not other.leaving
                and other.node_id in group.views[max(group.views)].index
                for other in self._world.processes
            )
        ):
            process.leave()

    def _divide(self, op: Divide) -> None:
        world = self._world
        liar = world.processes[op.node]
        if liar.active:
            others = [process.index for process in world.processes if process is not liar]
            world.liars.add(liar.node_id)
            world.history.lies(liar.node_id)
            liar.lie(frozenset(others[::2]))

    def _rejoin(self, op: Rejoin) -> None:
        process = self._world.processes[op.node]
        if process.gone:
            process.gone = False
            process.start()
