"""A minute of trading between strangers: who does what, and what they see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from dhtex.cli.demo.children import Child, Event, Nursery

NAMES: Final = ("alice", "bob", "carol")
RACES_MAX: Final = 50
"""A cancel loses about every other race."""


class Story:
    """Two Grapes, three peers, one market."""

    def __init__(self, children: Nursery, folder: Path, console: Console) -> None:
        self._children = children
        self._folder = folder
        self._console = console
        self._peers: dict[str, Child] = {}
        self._ids: dict[str, str] = {}  # short node id -> name
        self._bootstrap = ""

    async def tell(self) -> bool:
        """The whole story; True when all peers agree at its end."""
        chapters: tuple[Callable[[], Awaitable[None]], ...] = (
            self._start_grapes,
            self._start_peers,
            self._quote,
            self._cross_at_once,
            self._cancel_too_late,
            self._kill_carol,
            self._bring_carol_back,
        )
        for chapter in chapters:
            await chapter()
        return await self._compare()

    # -- chapters -----------------------------------------------------------------------------------------------

    async def _start_grapes(self) -> None:
        self._head("Two Grapes find each other")
        first = await self._grape("grape-1", "")
        second = await self._grape("grape-2", first)
        self._bootstrap = f"{first},{second}"

    async def _grape(self, name: str, bootstrap: str) -> str:
        grape = await self._children.start(
            name, "grape", "--dp", "0", "--aph", "0", "--bn", bootstrap, "--json"
        )
        started = await grape.hear("start", lambda event: event["event"] == "started")
        self._line(f"{name} listens at {started['dht']}, HTTP at {started['http']}")
        return str(started["dht"])

    async def _start_peers(self) -> None:
        self._head("Three strangers look up BTC-USD and become one group")
        for name in NAMES:
            await self._peer(name)
        await asyncio.gather(*(self._view(self._peers[name], len(NAMES)) for name in NAMES))
        for short, name in self._ids.items():
            self._line(f"{name} is {short}")

    async def _peer(self, name: str) -> None:
        peer = await self._children.start(
            name,
            *("peer", "--json", "--market", "BTC-USD", "--bn", self._bootstrap),
            *("--identity", name, "--data-dir", str(self._folder)),
        )
        self._peers[name] = peer
        started = await peer.hear("start", lambda event: event["event"] == "started")
        self._ids[started["node"][:8]] = name
        await peer.hear(
            "membership", lambda event: event.get("kind") == "role" and event["value"] == "member"
        )

    async def _view(self, peer: Child, members: int) -> None:
        def wanted(event: Event) -> bool:
            return event.get("kind") == "view" and len(event["members"]) == members

        await peer.hear(f"view of {members}", wanted)

    async def _quote(self) -> None:
        self._head("Alice and Bob quote")
        await self._do("alice", "sell 100 50")
        await self._do("alice", "sell 60 51.50")
        await self._do("bob", "buy 40 49.50")
        await self._show_book()

    async def _cross_at_once(self) -> None:
        self._head("Bob and Carol take the same offer at the same instant")
        results = await asyncio.gather(self._do("bob", "buy 60 50"), self._do("carol", "buy 60 50"))
        first = min(results, key=lambda result: int(result["position"]))
        self._line(
            f"The one order puts {self._owner(first['order'])} first; who came second is filled in part."
        )
        await self._show_trades()
        await self._show_book()

    async def _cancel_too_late(self) -> None:
        self._head("Alice cancels at the very instant Bob buys")
        alice, bob = self._peers["alice"], self._peers["bob"]
        for _ in range(RACES_MAX):
            offer = await self._do("alice", "sell 25 50.50")
            since_alice, since_bob = alice.mark(), bob.mark()
            await bob.tell("buy 25 50.50 ioc")
            await alice.tell(f"cancel {offer['order']}")
            bought = await self._final(bob, since_bob)
            answer = await self._final(alice, since_alice)
            self._result("bob", "buy 25 50.50 ioc", bought)
            self._result("alice", f"cancel {offer['order']}", answer)
            if bought["status"] == "filled" and answer["event"] == "final":
                self._line("The cancel lost the race, and everybody agrees that it did.")
                return
            self._line("In time, or seen too early to be a race; once more.")

    async def _kill_carol(self) -> None:
        self._head("Carol's process is killed; the others go on")
        await self._peers["carol"].kill()
        self._line("carol: SIGKILL")
        since = {name: self._peers[name].mark() for name in ("alice", "bob")}
        await self._do("alice", "sell 10 49")
        await self._do("bob", "sell 15 52")
        for name, start in since.items():
            await self._peers[name].hear("view of 2", lambda e: e.get("kind") == "view", start)
        self._line("alice and bob agreed on a view without her: what she had accepted is not lost")

    async def _bring_carol_back(self) -> None:
        self._head("Carol starts again from her journal and catches up")
        await self._peer("carol")
        await self._view(self._peers["carol"], 3)
        await self._do("carol", "buy 20 51.50")
        await self._do("bob", "buy 5 market")
        await self._show_trades()

    async def _compare(self) -> bool:
        self._head("The end: what each of them has")
        last = max(
            int(event["position"])
            for peer in self._peers.values()
            for event in peer.events
            if "position" in event
        )
        status = {name: await self._ask(name, f"status {last}", "status") for name in NAMES}
        books = {name: await self._ask(name, "book 20", "book") for name in NAMES}
        table = Table()
        table.add_column("")
        for name in NAMES:
            table.add_column(name)
        table.add_row("position", *(str(status[name]["position"]) for name in NAMES))
        table.add_row("digest", *(status[name]["digest"][:16] for name in NAMES))
        for side in ("bids", "asks"):
            table.add_row(
                side, *("\n".join(f"{q} @ {p}" for p, q in books[name][side]) or "-" for name in NAMES)
            )
        self._console.print(table)
        facts = [
            (status[name]["position"], status[name]["digest"], books[name]["bids"], books[name]["asks"])
            for name in NAMES
        ]
        equal = all(fact == facts[0] for fact in facts)
        for name in NAMES:
            await self._peers[name].stop()
        self._line("All three agree." if equal else "They DIFFER: this is a bug; please report it.")
        return equal

    # -- doing and showing --------------------------------------------------------------------------------------

    async def _do(self, name: str, line: str) -> Event:
        peer = self._peers[name]
        since = peer.mark()
        await peer.tell(line)
        result = await self._final(peer, since)
        self._result(name, line, result)
        return result

    async def _final(self, peer: Child, since: int) -> Event:
        return await peer.hear("result", lambda event: event["event"] in ("final", "refused"), since)

    async def _ask(self, name: str, line: str, answer: str) -> Event:
        peer = self._peers[name]
        since = peer.mark()
        await peer.tell(line)
        return await peer.hear(answer, lambda event: event["event"] == answer, since)

    def _result(self, name: str, line: str, result: Event) -> None:
        fills = ", ".join(f"{fill['quantity']} @ {fill['price']}" for fill in result.get("fills", ()))
        filled = f"filled {fills}" if fills else ""
        rest = f"{result['remaining']} open" if result.get("status") == "open" else ""
        outcome = (
            ", ".join(part for part in (filled, rest) if part) or result.get("reason") or result.get("status")
        )
        self._line(f"{name}: {line} -> {outcome} (position {result.get('position', '-')})")

    async def _show_book(self) -> None:
        book = await self._ask("carol", "book", "book")
        table = Table(title="the book, as Carol sees it", title_justify="left")
        for column in ("bid amount", "bid", "ask", "ask amount"):
            table.add_column(column, justify="right" if column.startswith("bid") else "left")
        bids, asks = book["bids"], book["asks"]
        for row in range(max(len(bids), len(asks))):
            bid = bids[row][::-1] if row < len(bids) else ["", ""]
            ask = asks[row] if row < len(asks) else ["", ""]
            table.add_row(*bid, *ask)
        self._console.print(table)

    async def _show_trades(self) -> None:
        trades = (await self._ask("carol", "trades 5", "trades"))["trades"]
        table = Table(title="the last trades, as Carol sees them", title_justify="left")
        for column in ("amount", "price", "taker", "maker"):
            table.add_column(column)
        for trade in trades:
            taker = f"{self._owner(trade['taker'])} {trade['aggressor']}s"
            table.add_row(trade["quantity"], trade["price"], taker, self._owner(trade["maker"]))
        self._console.print(table)

    def _owner(self, order: Any) -> str:
        return self._ids.get(str(order)[:8], str(order))

    def _head(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/bold]")

    def _line(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False, markup=False)
