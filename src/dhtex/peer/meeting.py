"""How a peer finds its group: announce first, look up second, say hello, then found, join or wait.

The order matters: of two newcomers that announce and then look, at least one sees the other, so two groups arise only
where discovery itself is cut in two. What to do with what was seen is `replication.decide`.
Source: `design: replication, Founding without two founders`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dhtex.dht import Discovery
from dhtex.dht.addresses import format_address
from dhtex.errors import NetworkError
from dhtex.identity import NodeId
from dhtex.replication import Candidate, Decision, Destination, decide
from dhtex.transport import Address, Channel, HelloAnswer

logger = logging.getLogger(__name__)

HELLO_TIMEOUT_S: Final = 1.0
"""A peer that is there answers within a round trip; a stale announcement costs this much once a look-up."""
LOOK_S_MAX: Final = 2.0
"""A look that takes longer counts for nothing and is made again."""
CONFIRM_S: Final = 2.5
"""How long the lowest of several newcomers waits before it looks once more and founds. Longer than a look: whoever
looked before this one announced itself, and so saw nobody, has founded by then and is joined."""
LOOK_AGAIN_S: Final = 0.25
LOOK_AGAIN_S_MAX: Final = 5.0
CONTACTS_MAX: Final = 64
"""Addresses asked per look-up; a group is smaller, the rest would be stale or made up."""


class Founding(enum.Enum):
    """What a newcomer may do."""

    AUTO = "auto"
    """Join the group that exists; found one when there is none and no other founder-to-be comes first."""
    FOUND = "found"
    """Found a group, whatever is announced."""
    JOIN = "join"
    """Join, however long it takes until there is a group."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a meeting: the contacts of the group to join, or none to found one."""

    contacts: tuple[Destination, ...]


class Meeting:
    """The search for the group of one channel."""

    def __init__(
        self,
        channel: Channel,
        discovery: Discovery | None,
        *,
        node_id: NodeId,
        own: Address,
        direct: Sequence[Address] = (),
        tell: Callable[[str], None],
    ) -> None:
        """Args:
        discovery: None when no Grape was given: only *direct* addresses are asked.
        own: the address this peer announces; not asked.
        direct: addresses of peers known otherwise.
        tell: gets a sentence whenever the search changes what it waits for.
        """
        self._channel = channel
        self._discovery = discovery
        self._node_id = node_id
        self._own = own
        self._direct = tuple(direct)
        self._tell = tell
        self._told = ""

    @property
    def can_look(self) -> bool:
        """Whether nobody found means that nobody is there: not before a Grape has answered."""
        return self._discovery is None or self._discovery.is_ready

    async def announce(self) -> None:
        """Say where this peer is, until the discovery node is closed."""
        if self._discovery is not None:
            await self._discovery.announce(self._channel.group_id, self._own[1])

    async def seen(self) -> list[HelloAnswer]:
        """Everybody of this group who is announced, or given, and answers now."""
        return (await self._see())[0]

    async def _see(self) -> tuple[list[HelloAnswer], bool]:
        """Who answers, and whether anybody was there to be asked."""
        addresses = set(self._direct)
        if self._discovery is not None:
            addresses.update((await self._discovery.lookup(self._channel.group_id))[:CONTACTS_MAX])
        addresses.discard(self._own)
        answers = await asyncio.gather(*(self._hello(address) for address in addresses))
        unique = {answer.node_id: answer for answer in answers if answer is not None}
        unique.pop(self._node_id, None)
        return list(unique.values()), bool(addresses)

    async def settle(self, founding: Founding) -> Outcome:
        """Search until there is something to do. Cancel it to stop.

        Raises:
            NotRunning: the channel was closed meanwhile.
        """
        if self._discovery is not None and founding is not Founding.FOUND:
            await self._discovery.ready()
        await self.announce()
        if founding is Founding.FOUND:
            return Outcome(())
        pause, first = LOOK_AGAIN_S, False
        while True:
            answers, known = await self._look()
            match self._decide(founding, answers):
                case Decision.JOIN:
                    return Outcome(tuple(destination(answer) for answer in answers if answer.view_number))
                case Decision.FOUND if first or not known:
                    return Outcome(())
                case Decision.FOUND:  # whoever is known and silent may be gone, or the HELLOs were lost
                    why = "first of several newcomers" if answers else "nobody who is announced answers"
                    self.say(f"{why}; looking once more before founding the group")
                    first = True
                    await asyncio.sleep(CONFIRM_S)
                    continue
            first = False
            await asyncio.sleep(pause)
            pause = LOOK_AGAIN_S if answers else min(2 * pause, LOOK_AGAIN_S_MAX)

    async def _look(self) -> tuple[list[HelloAnswer], bool]:
        """`_see`, within the time that a look may take."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S_MAX):
                    return await self._see()

    def _decide(self, founding: Founding, answers: list[HelloAnswer]) -> Decision:
        decision = decide(
            self._node_id, [Candidate(answer.node_id, answer.view_number) for answer in answers]
        )
        if decision is Decision.WAIT:
            self.say("another newcomer founds the group; waiting for it")
        elif decision is Decision.FOUND and founding is Founding.JOIN:
            self.say("no group to join yet; waiting for one")
            return Decision.WAIT
        return decision

    async def _hello(self, address: Address) -> HelloAnswer | None:
        try:
            return await self._channel.hello(address, HELLO_TIMEOUT_S)
        except NetworkError as error:
            logger.debug("no hello from %s: %s", format_address(address), error)
            return None

    def say(self, sentence: str) -> None:
        """Tell *sentence*, unless it was the last one told."""
        if sentence != self._told:
            self._told = sentence
            self._tell(sentence)


def destination(answer: HelloAnswer) -> Destination:
    """Where to send to whoever answered."""
    return Destination(answer.public_key, format_address(answer.address))
