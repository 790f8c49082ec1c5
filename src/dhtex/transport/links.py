"""Everybody a group knows: members for as long as they are, strangers as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator

from dhtex.errors import Unreachable
from dhtex.identity import NodeId, PublicKey
from dhtex.transport.link import Link


class Links:
    """Links by key and node id; of strangers at most *strangers_max*: the quietest goes first."""

    def __init__(self, strangers_max: int) -> None:
        self.members: frozenset[NodeId] = frozenset()
        self._strangers_max = strangers_max
        self._by_key: dict[PublicKey, Link] = {}
        self._by_node: dict[NodeId, Link] = {}
        self._strangers: OrderedDict[NodeId, Link] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._by_key.values()))

    def of_key(self, public_key: PublicKey) -> Link | None:
        """The link with a key, if it is known."""
        return self._by_key.get(public_key)

    def of_node(self, node_id: NodeId) -> Link | None:
        """The link with a node id, if its key is known."""
        return self._by_node.get(node_id)

    def add(self, link: Link, now: float) -> None:
        """Remember a peer; a stranger may push out another."""
        self._by_key[link.public_key] = link
        self._by_node[link.node_id] = link
        if link.node_id in self.members:
            link.set_member(True, now)
        else:
            self._strangers[link.node_id] = link
            self._make_room()

    def touch(self, link: Link) -> None:
        """A peer was heard; of strangers, the one quiet for longest is forgotten first."""
        if link.node_id in self._strangers:
            self._strangers.move_to_end(link.node_id)

    def set_members(self, members: Collection[NodeId], now: float) -> None:
        """The whole membership from now on."""
        self.members = frozenset(members)
        for link in self._by_node.values():
            is_member = link.node_id in self.members
            if is_member != link.is_member:
                link.set_member(is_member, now)
                if is_member:
                    del self._strangers[link.node_id]
                else:
                    self._strangers[link.node_id] = link
        self._make_room()

    def _make_room(self) -> None:
        while len(self._strangers) > self._strangers_max:
            # Whom we wait for is spared, so that a flood of newcomers does not end our calls.
            idle = (node_id for node_id, link in self._strangers.items() if not link.calls)
            node_id = next(idle, next(iter(self._strangers)))
            link = self._strangers.pop(node_id)
            del self._by_node[node_id]
            del self._by_key[link.public_key]
            link.calls.fail(Unreachable("too many peers are being talked to at once; try again later"))
