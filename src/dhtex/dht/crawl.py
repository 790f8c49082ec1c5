"""A look-up at work: a `Shortlist` driven over a `Protocol`.

Takes the place of the package's `SpiderCrawl`, whose structure is its fault: it recurses once for each round
(20), waits for the slowest of a round (19) and believes every answer (15). What remains of it is the
algorithm of the paper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from dhtex.dht.calls import Answer, Outcome
from dhtex.dht.contacts import Contact
from dhtex.dht.methods import Found
from dhtex.dht.protocol import Protocol
from dhtex.dht.shortlist import Shortlist
from dhtex.errors import NotRunning

CRAWL_S_MAX = 15.0
"""End of a look-up whatever the network does; an honest one of 10,000 nodes with a third dead takes about
two.
"""

Visit = Callable[[Contact, Found], bool]
"""Told of each answer; returns true when the look-up has found what it wanted."""


def nothing_to_see(contact: Contact, found: Found) -> bool:
    """A `Visit` for look-ups that only want the closest contacts."""
    return False


class Crawl:
    """Asks *method* about *key*, nearer and nearer. `done` always ends: in the closest that answered."""

    def __init__(
        self, protocol: Protocol, shortlist: Shortlist, method: str, key: bytes, visit: Visit
    ) -> None:
        self.done: asyncio.Future[list[Contact]] = protocol.loop.create_future()
        self.shortlist = shortlist
        self._protocol = protocol
        self._method = method
        self._key = key
        self._visit = visit
        self._calls: set[asyncio.Future[Outcome]] = set()
        self._deadline = protocol.loop.call_later(CRAWL_S_MAX, self._finish)
        self.done.add_done_callback(lambda _: self._stop())
        self._step()

    def _stop(self) -> None:
        self._deadline.cancel()
        for call in self._calls:
            call.cancel()
        self._calls.clear()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self.shortlist.result())

    def _step(self) -> None:
        if self.done.done():
            return
        for contact in self.shortlist.next_queries():
            try:
                call = self._protocol.begin(
                    contact.address, self._method, self._key, on_late=partial(self._late, contact)
                )
            except NotRunning:
                self._finish()
                return
            self._calls.add(call)
            call.add_done_callback(partial(self._ended, contact))
        if self.shortlist.is_done:
            self._finish()

    def _late(self, contact: Contact) -> None:
        self.shortlist.stalled(contact)
        self._step()

    def _ended(self, contact: Contact, call: asyncio.Future[Outcome]) -> None:
        self._calls.discard(call)
        if call.cancelled() or self.done.done():
            return
        outcome = call.result()
        self._protocol.settle(contact, outcome)
        if isinstance(outcome, Answer) and isinstance(outcome.result, Found) and outcome.sender:
            answerer = contact if outcome.sender == contact.id else Contact(outcome.sender, contact.address)
            found = outcome.result
            named = [other for other in found.contacts if self._protocol.can_reach(other.address)]
            self.shortlist.answered(contact, named, answerer)
            if self._visit(answerer, found):
                self._finish()
                return
        else:
            self.shortlist.failed(contact)
        self._step()
