"""The end of every run: faults stop for a core of members, and all must become final in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dhtex.identity import short_id
from dhtex.replication import View
from dhtex.replication.effects import Role
from dhtex.simulation.checks import Violation
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
FAR_ROUND_TRIPS: Final = 100
"""So many of the way that is longer come on top where peers are far apart."""
PROBE_ROUND_TRIPS: Final = 4
"""In a settled group a command is final everywhere by then; two would do, were nothing ever overtaken."""
_STEP: Final = 50 * MILLISECOND
_PROBE_STEP: Final = 2 * MILLISECOND
_SKEW: Final = 10 * MILLISECOND


class Recovery:
    """Heals a world and demands progress; then, in half of the plans, takes a minority away and demands it again."""

    def __init__(self, world: World, clock_lead: int) -> None:
        """Args: *clock_lead* is how far timestamps may lie in the future, microseconds."""
        self._world = world
        # Every restart begins at the durable ceiling of the clock, so a crash loop drives a clock ahead.
        restarts = max(process.starts for process in world.processes)
        self._clock_lead = max(0, clock_lead) + restarts * world.plan.config.ceiling_ahead
        far = 2 * world.plan.far
        self._round_trip = ROUND_TRIP + far
        self._patience = SETTLE_ROUND_TRIPS * ROUND_TRIP + FAR_ROUND_TRIPS * far + self._clock_lead
        self._core = [process for process in world.processes if process.node_id not in world.liars]

    def run(self) -> tuple[int, int]:
        """Heal, wait, probe; how long the group took to settle, and the probe to become final.

        Raises:
            Violation: it took longer than stated.
        """
        world = self._world
        self._heal()
        settled_after = self._settle()
        world.run_until(world.now + self._clock_lead)  # a timestamp ahead of every clock delays what follows
        settled_after = max(settled_after, self._settle())
        if world.plan.core_only:
            self._take_minority_away()
            settled_after = max(settled_after, self._settle())
        probe = self._probe()
        world.weigh(self._core)
        return settled_after, probe

    def _settle(self) -> int:
        world = self._world
        begin = world.now
        patience = self._patience + self._backlog() * self._round_trip
        while (trouble := self._trouble()) is not None:
            if world.now - begin >= patience:
                raise Violation(
                    "progress", f"{trouble}, {(world.now - begin) / SECOND:.0f} s after the last fault"
                )
            self._bring_back_last_members()
            self._bring_back_acquaintances()
            world.run_until(world.now + _STEP)
        return world.now - begin

    def _backlog(self) -> int:
        """How many round trips what is pending takes at least, one full pipeline each."""
        config = self._world.plan.config
        pending = sum(process.replica.pending_count for process in self._core if process.replica is not None)
        return 2 * pending // (config.entry_commands_max * config.pipeline_max)

    def _bring_back_last_members(self) -> None:
        """Whoever left last is the group: others that still want to be in need it back."""
        for process in self._core:
            group = self._world.history.group_of(process.name)
            if process.gone and group is not None:
                newest = group.views[max(group.views)]
                if newest.node_ids == (process.node_id,):
                    process.gone = False
                    process.start()

    def _bring_back_acquaintances(self) -> None:
        """Who missed a change believes only whom it met as a member; where all of those are gone, one comes back.

        Views carry no proof of the majority that decided them, so it may not believe anybody else (`design: View
        change`, and docs/explanation/replication.md).
        """
        for process in self._core:
            replica = process.replica
            if replica is None or replica.view is None or replica.has_quorum:
                continue
            others = [other for other in self._core if other is not process and not other.plan.observer]
            if not any(replica.has_met(other.node_id) for other in others if not other.gone):
                for other in others:
                    if other.gone and other.node_id in replica.view.index:
                        other.gone = False
                        other.start()
                        break

    def _heal(self) -> None:
        world = self._world
        world.note("", "faults stop")
        world.network.plan = CALM.farther(world.plan.far)
        world.network.mend_all()
        world.board.sees_all()
        for process in world.processes:
            if process.node_id in world.liars:
                process.crash()  # nobody may have caught it: it would ask to join again, and disturb for ever
                process.gone = True
            process.disk.plan = CALM_DISK
            process.disk.set_extra(0)
            process.disk.set_full(False)
            process.timepiece.correct(world.now, world.rng.randint(-_SKEW, _SKEW))
            process.resume()
            process.start()

    def _take_minority_away(self) -> None:
        """In the middle of work, as many members and observers as may be missing go down for good."""
        world = self._world
        alive = [process for process in self._core if not process.gone]
        members = [process for process in alive if not process.plan.observer]
        world.rng.shuffle(alive)
        spare = (len(members) - 1) // 2
        self._submit_everywhere()
        world.run_until(world.now + world.rng.randrange(2 * self._round_trip))
        for process in alive:
            if process.plan.observer:
                lost = world.rng.random() < 0.5
            else:
                lost = spare > 0
                spare -= lost
            if lost:
                process.crash()
                process.gone = True
        self._core = [process for process in self._core if not process.gone]
        world.note("", f"the core is {''.join(process.name for process in self._core)}")

    def _submit_everywhere(self) -> None:
        world = self._world
        for process in self._core:
            if not process.gone:
                process.submit(world.workload.commands(process.node_id, 1), 1)

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
            if process.leaving:
                return f"{process.name} has not left yet"
            if process.disk.stalled(CALM_DISK.sync_high):
                return f"the disk of {process.name} stands still"
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
            if not other.plan.observer and not other.gone and history.group_of(other.name) is group
        }

    def _probe(self) -> int:
        world = self._world
        begin = world.now
        self._submit_everywhere()
        while (trouble := self._trouble(observers=False)) is not None:
            if world.now - begin >= PROBE_ROUND_TRIPS * self._round_trip:
                raise Violation(
                    "round-trips",
                    f"{trouble}, {PROBE_ROUND_TRIPS} round trips after a submission in a settled group",
                )
            world.run_until(world.now + _PROBE_STEP)
        return world.now - begin
