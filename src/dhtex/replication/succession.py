"""From one view to the next: when to propose one, what was decided, and closing the view before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from dhtex.replication.core import NEVER, Core, Phase
from dhtex.replication.fetching import Fetching
from dhtex.replication.following import Following
from dhtex.replication.membership import Acceptor, Proposer, Stage
from dhtex.replication.values import VIEW_AHEAD_MAX, Ballot, View
from dhtex.replication.watching import Watching

ROUNDS_AHEAD_MAX: Final = 2**24
"""How far a ballot's round may be beyond all heard of. At ten ballots a second, members are weeks apart there."""


class Succession:
    """Owns the acceptor, the proposer, and the decisions not installed yet.

    Args:
        install: begins a view; everything up to its cut is here.

    Attributes:
        propose_at: when this member takes its turn to propose a view, monotonic.
    """

    def __init__(
        self,
        core: Core,
        watching: Watching,
        fetching: Fetching,
        following: Following,
        install: Callable[[View], None],
    ) -> None:
        self._core = core
        self._watching = watching
        self._fetching = fetching
        self._following = following
        self._install = install
        self._decided: dict[int, View] = {}
        self.propose_at = NEVER
        self.acceptor = Acceptor(core, fetching)
        self.proposer = Proposer(
            core,
            self.acceptor,
            fetching,
            watching.compose,
            watching.unsuspected,
            watching.unheard,
            watching.leaving,
            self._learn_own,
        )

    def reset(self) -> None:
        """A view begins, or the state was replaced."""
        core = self._core
        if core.phase is not Phase.FROZEN:
            self.acceptor.reset()
        self.proposer.reset()
        self.wait()
        number = 0 if core.view is None else core.view.number
        self._decided = {n: view for n, view in self._decided.items() if n > number}

    def wait(self) -> None:
        """Somebody else is proposing: plan the own turn anew."""
        self.propose_at = NEVER

    def tick(self) -> None:
        """Time has passed."""
        now = self._core.now.monotonic
        if now >= self.proposer.deadline:
            self.proposer.tick()
        if now >= self.propose_at:
            self.wait()
            self._propose()

    def progress(self) -> None:
        """After every input: close the view if the next is known, go on with a ballot, plan the own turn."""
        core = self._core
        if self._decided and core.is_member:
            self.close_view()
        if core.phase is Phase.FROZEN:
            self.acceptor.retry_offer()
            self.proposer.retry()
        if core.phase is Phase.ACTIVE or core.phase is Phase.FROZEN:
            self._plan()

    def condemn(self, node_id: bytes) -> None:
        """*node_id* lies: what it proposes is of no interest any more."""
        offer = self.acceptor.offer
        if offer is not None and offer[0].proposer == node_id and node_id != self._core.node_id:
            self.acceptor.drop_offer()

    def _may_follow(self, view: View) -> bool:
        """False for a record that cannot come next: it does not fit, or takes back what is final here."""
        core = self._core
        return (
            core.view is not None
            and view.follows(core.view)
            and not (core.view_log is not None and core.view_log.contradicts(view))
        )

    def _learn_own(self, view: View) -> None:
        """What this member's own ballot decided."""
        self.learn((view,))

    def is_within_reach(self, ballot: Ballot) -> bool:
        """False for a round so far beyond all heard of that only a liar can be there.

        There is no ballot above the highest number: a member that promised it could never promise another, and the
        group could never change its view again.
        """
        known = max(self.proposer.round_seen, self.acceptor.promised.round)
        return ballot.round <= known + ROUNDS_AHEAD_MAX

    def learn(self, views: Iterable[View]) -> bool:
        """Views that were decided; the next one closes the installed one. False: the ones between are lacking."""
        core = self._core
        number = 0 if core.view is None else core.view.number
        complete = True
        for view in sorted(views, key=lambda view: view.number):
            if view.number <= number or len(self._decided) >= VIEW_AHEAD_MAX:
                continue
            if (
                view.number - 1 != number
                and view.number - 1 not in self._decided
                and self._watching.has_quorum
            ):
                # A record without those before it shows no more than that somebody says so. A member whose own view
                # works asks for the rest; to give the view up for one word would let any member stop the group.
                complete = False
                continue
            self._decided.setdefault(view.number, view)
        self.close_view()
        return complete

    def _plan(self) -> None:
        """When this member should propose a view, if nothing else happens."""
        core = self._core
        if core.phase is Phase.ACTIVE:
            if self._watching.want_since == NEVER:
                self.propose_at = NEVER
            elif self.propose_at == NEVER:
                self.propose_at = core.now.monotonic + self._turn()
        elif self.proposer.stage is not Stage.RESTING:
            self.propose_at = NEVER
        elif self.propose_at == NEVER:
            self.propose_at = core.now.monotonic + self.proposer.patience // 2 + self._turn()

    def _turn(self) -> int:
        """The lowest fit member goes first, the others after a randomized while."""
        config = self._core.config
        return self._watching.rank() * config.rank_delay + int(self._core.random.random() * config.rank_delay)

    def _propose(self) -> None:
        core = self._core
        view_log = core.view_log
        if core.full or view_log is None:
            return
        if core.phase is Phase.FROZEN or (
            core.phase is Phase.ACTIVE and self._watching.wants_change(view_log)
        ):
            self.proposer.propose()

    def close_view(self) -> None:
        """A later view is known: get what is missing of this one, then install the next; repeatedly."""
        core = self._core
        while core.is_member and core.view is not None and not core.full:
            view, view_log = core.view, core.view_log
            following = self._decided.get(view.number + 1)
            if following is not None and not self._may_follow(following):
                del self._decided[view.number + 1]
                following = None
            if following is None and not self._decided:
                return
            if core.phase is not Phase.INSTALLING:
                core.enter(Phase.INSTALLING)
                self.proposer.rest()
                self.propose_at = NEVER
                grace = 0 if following is None else 4 * core.config.fetch_interval
                self._following.start(core.now.monotonic + grace)
                if following is not None:
                    self._fetching.close_in(following)
            if following is None or view_log is None or not view_log.holds(following):
                return
            self._install(following)
