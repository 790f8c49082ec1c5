"""The end of every run: faults stop for a core of members, and all must become final in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dhtex.identity import short_id
from dhtex.replication import View
from dhtex.replication.effects import Role
from dhtex.replication.records import Installed, SnapshotTaken, Vote
from dhtex.simulation.checks import BoundsChecker, Violation
from dhtex.simulation.plan import MILLISECOND, SECOND, DiskPlan, NetworkPlan

if TYPE_CHECKING:
    from dhtex.simulation.process import Process
    from dhtex.simulation.world import World

CALM: Final = NetworkPlan(delay_low=4 * MILLISECOND, delay_high=9 * MILLISECOND)
CALM_DISK: Final = DiskPlan(sync_low=200, sync_high=1_000)
ROUND_TRIP: Final = 2 * CALM.delay_high + CALM_DISK.sync_high
"""The longest way there and back after the faults, one sync included, microseconds."""
SETTLE_ROUND_TRIPS: Final = 1_600
"""Everything is final by then: about 30 s, some ten times `suspect_after` plus `ballot_timeout`."""
PROBE_ROUND_TRIPS: Final = 4
"""In a settled group a command is final everywhere by then; two would do, were nothing ever overtaken."""
_STEP: Final = 50 * MILLISECOND
_PROBE_STEP: Final = 2 * MILLISECOND
_SKEW: Final = 10 * MILLISECOND


class Recovery:
    """Heals a world and demands progress."""

    def __init__(self, world: World, clock_lead: int) -> None:
        """Args: *clock_lead* is how far timestamps may lie in the future, microseconds."""
        self._world = world
        self._patience = SETTLE_ROUND_TRIPS * ROUND_TRIP + max(0, clock_lead)
        self._core = self._choose_core() if world.plan.core_only else list(world.processes)

    def run(self) -> tuple[int, int]:
        """Heal, wait, probe; how long the group took to settle, and the probe to become final.

        Raises:
            Violation: it took longer than stated.
        """
        world = self._world
        self._heal()
        begin = world.now
        while (trouble := self._trouble()) is not None:
            if world.now - begin >= self._patience:
                raise Violation(
                    "progress", f"{trouble}, {(world.now - begin) / SECOND:.0f} s after the last fault"
                )
            world.run_until(world.now + _STEP)
        settled_after = world.now - begin
        probe = self._probe()
        for process in self._core:
            BoundsChecker.weigh(process.name, process.replica, world.history.commands_submitted)
        return settled_after, probe

    # -- who is left -----------------------------------------------------------------------------------------

    def _choose_core(self) -> list[Process]:
        """As few as may be left so that every view that exists or may be decided keeps its majority."""
        world = self._world
        core = [process for process in world.processes if not process.gone]
        views = self._possible_views(core)
        victims = list(core)
        world.rng.shuffle(victims)
        for victim in victims:
            rest = [process for process in core if process is not victim]
            if rest and all(self._suffices(rest, view) for view in views):
                core = rest
        return core

    def _possible_views(self, processes: list[Process]) -> list[View]:
        found: dict[bytes, View] = {}
        newest: dict[str, View] = {}
        for process in processes:
            for record in process.disk.records:
                if isinstance(record, Installed):
                    newest[process.name] = record.view
                elif isinstance(record, SnapshotTaken):
                    view = record.snapshot.view
                    if process.name not in newest or newest[process.name].number < view.number:
                        newest[process.name] = view
        head = max((view.number for view in newest.values()), default=0)
        for view in newest.values():
            if view.number == head:
                found[view.id] = view
        for process in processes:
            for record in process.disk.records:
                if isinstance(record, Vote) and record.view == head and record.value is not None:
                    found[record.value.id] = record.value
        return list(found.values())

    def _suffices(self, rest: list[Process], view: View) -> bool:
        """*rest* has a majority of *view*, and somebody who knows the view before or the view itself."""
        members = sum(process.node_id in view.index and not process.wiped for process in rest)
        knows = any(
            isinstance(record, Installed) and record.view.id in {view.id, view.parent}
            for process in rest
            for record in process.disk.records
        )
        return members >= view.majority and knows

    # -- healing ---------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        world = self._world
        world.note("", f"faults stop; the core is {''.join(process.name for process in self._core)}")
        world.network.plan = CALM
        world.network.mend_all()
        world.board.sees_all()
        for process in world.processes:
            process.disk.plan = CALM_DISK
            process.disk.set_extra(0)
            process.disk.set_full(False)
            process.timepiece.correct(world.now, world.rng.randint(-_SKEW, _SKEW))
            if process not in self._core:
                process.crash()
                process.gone = True
            elif not process.gone:
                process.resume()
                process.start()
        self._core = [process for process in self._core if not process.gone]

    def _trouble(self, *, observers: bool = True) -> str | None:
        """What is not as it should be in the end, in a few words; whoever observes may be asked to wait."""
        history = self._world.history
        for process in self._core:
            if process.gone or (process.plan.observer and not observers):
                continue
            replica = process.replica
            if replica is None:
                return f"{process.name} is not up"
            if replica.role is not (Role.OBSERVING if process.plan.observer else Role.MEMBER):
                return f"{process.name} is still {replica.role.value}"
            if replica.pending_count:
                return f"{process.name} has {replica.pending_count} commands that are not final"
            if (
                not process.plan.observer
                and replica.view is not None
                and self._strangers(process, replica.view)
            ):
                return f"{process.name} is in a view with others than the core"
            if unfinished := history.unfinished(process.node_id):
                return f"{unfinished} accepted commands of {short_id(process.node_id)} are not final"
            if behind := history.behind(process.name):
                return f"{process.name} lacks {behind} final entries"
        views = {
            process.replica.view.number: process.name
            for process in self._core
            if process.replica is not None and process.replica.view is not None
        }
        if len(views) > len(history.groups):
            return f"views differ: {views}"
        return None

    def _strangers(self, process: Process, view: View) -> bool:
        """True when *view* is not made of all members of the core that follow the same history as *process*."""
        history = self._world.history
        group = history.group_of(process.name)
        return set(view.node_ids) != {
            other.node_id
            for other in self._core
            if not other.plan.observer and history.group_of(other.name) is group
        }

    def _probe(self) -> int:
        world = self._world
        begin = world.now
        for process in self._core:
            if not process.gone and not process.plan.observer:
                process.submit(world.workload.commands(process.node_id, 1), 1)
        while (trouble := self._trouble(observers=False)) is not None:
            if world.now - begin >= PROBE_ROUND_TRIPS * ROUND_TRIP:
                raise Violation(
                    "round-trips",
                    f"{trouble}, {PROBE_ROUND_TRIPS} round trips after a submission in a settled group",
                )
            world.run_until(world.now + _PROBE_STEP)
        return world.now - begin
