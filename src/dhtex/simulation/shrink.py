"""The shortest history that still fails: leave things out of a plan, run it again, keep what still fails.

Source: Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, 2002 (ddmin). Leaving one
thing out shifts all chance events after it, so every candidate is tried under a few salts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from dhtex.simulation.checks import Violation
from dhtex.simulation.plan import MILLISECOND, SECOND, Op, Plan, Submit
from dhtex.simulation.world import World

RUNS_MAX: Final = 400
_SALTS: Final = 3
_TAIL: Final = 1 * SECOND

MakeWorld = Callable[[Plan], World]


@dataclass(frozen=True, slots=True)
class Failure:
    """A plan that breaks a rule."""

    plan: Plan
    violation: Violation


def shrink(failure: Failure, make_world: MakeWorld = World, runs_max: int = RUNS_MAX) -> Failure:
    """A smaller plan that breaks the same rule; the one given when none is found in *runs_max* runs."""
    search = _Search(failure, make_world, runs_max)
    size = -1
    while size != search.size() and search.runs_left:
        size = search.size()
        for candidate in _shorter(search.best.plan):
            search.attempt(candidate)
        search.leave_out_ops()
        for candidate in _calmer(search.best.plan):
            search.attempt(candidate)
    return search.best


class _Search:
    def __init__(self, failure: Failure, make_world: MakeWorld, runs_max: int) -> None:
        self.best = failure
        self.runs_left = runs_max
        self._make_world = make_world

    def size(self) -> int:
        plan = self.best.plan
        return len(plan.ops) + plan.faults_until // SECOND + sum(1 for _ in _calmer(plan))

    def attempt(self, plan: Plan) -> bool:
        """True when *plan* fails in the same way; it is the best one then."""
        if plan == self.best.plan:
            return False
        for extra in range(_SALTS):
            if not self.runs_left:
                return False
            self.runs_left -= 1
            candidate = replace(plan, salt=self.best.plan.salt + extra)
            try:
                self._make_world(candidate).run()
            except Violation as violation:
                if violation.rule == self.best.violation.rule:
                    self.best = Failure(candidate, violation)
                    return True
        return False

    def leave_out_ops(self) -> None:
        """ddmin over the operations: halves first, single ones last."""
        chunk = max(1, len(self.best.plan.ops) // 2)
        while self.runs_left:
            at = 0
            while at < len(self.best.plan.ops) and self.runs_left:
                ops = self.best.plan.ops
                if not self.attempt(replace(self.best.plan, ops=ops[:at] + ops[at + chunk :])):
                    at += chunk
            if chunk == 1:
                return
            chunk //= 2


def _shorter(plan: Plan) -> Iterator[Plan]:
    """Faults that stop earlier."""
    for share in (2, 4, 8):
        until = max(2 * SECOND, plan.faults_until * share // 10)
        yield replace(plan, faults_until=until, ops=tuple(op for op in plan.ops if op.at < until))
    if plan.ops:
        until = plan.ops[-1].at + _TAIL
        if until < plan.faults_until:
            yield replace(plan, faults_until=until)


def _calmer(plan: Plan) -> Iterator[Plan]:
    """One thing less that can go wrong, where there still is one."""
    for name in ("loss", "duplicate", "corrupt", "tail_rate"):
        if getattr(plan.network, name):
            changes: dict[str, Any] = {name: 0.0}
            yield replace(plan, network=replace(plan.network, **changes))
    if plan.disk.stall_rate:
        yield replace(plan, disk=replace(plan.disk, stall_rate=0.0))
    if plan.core_only:
        yield replace(plan, core_only=False)
    if plan.discovery_misses:
        yield replace(plan, discovery_misses=0.0)
    if plan.far:
        yield replace(plan, far=0)
    if plan.real_keys:
        yield replace(plan, real_keys=False)
    if len(plan.nodes) > 1:
        for index in reversed(range(len(plan.nodes))):
            yield _without(plan, index)
    if any(node.skew or node.drift_ppm for node in plan.nodes):
        yield replace(plan, nodes=tuple(replace(node, skew=0, drift_ppm=0) for node in plan.nodes))
    if any(isinstance(op, Submit) and op.count > 1 for op in plan.ops):
        ops = (replace(op, count=1) if isinstance(op, Submit) else op for op in plan.ops)
        yield replace(plan, ops=tuple(ops))
    if plan.network.delay_high - plan.network.delay_low > MILLISECOND:
        network = replace(plan.network, delay_low=MILLISECOND, delay_high=2 * MILLISECOND)
        yield replace(plan, network=network)


def _without(plan: Plan, index: int) -> Plan:
    """The plan without one peer; the others keep their keys only if it was the last."""
    ops: list[Op] = []
    for op in plan.ops:
        node = getattr(op, "node", None)
        links = getattr(op, "links", None)
        if node == index:
            continue
        changes: dict[str, Any] = {}
        if node is not None and node > index:
            changes["node"] = node - 1
        if links is not None:
            changes["links"] = frozenset(
                (a - (a > index), b - (b > index)) for a, b in links if index not in {a, b}
            )
        ops.append(replace(op, **changes))
    return replace(plan, nodes=plan.nodes[:index] + plan.nodes[index + 1 :], ops=tuple(ops))
