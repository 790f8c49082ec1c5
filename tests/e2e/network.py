"""Bad networks for real processes: delay, loss, partitions.

Two of them with one face. `Namespaces` is the real thing, as the kernel makes it: a network namespace a peer, joined
by a bridge, cut by moving a cable to another bridge, with weather made by `tc netem`. It needs root and, for
weather, a kernel with netem. `Proxy` works anywhere: every peer advertises a UDP socket of the test, which passes
on what it gets, or does not.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from dhtex.identity import NodeId, PublicKey, node_id_of
from dhtex.peer.home import Home
from e2e.dhtex_process import DHTEX, Process, dht_address, grape, peer

Tamper = Callable[[bytes], list[bytes]]
"""What to deliver instead of a datagram."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to each datagram on its own: lost with probability *loss*, else late by *delay_s* ± *jitter_s*."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


class Network(Protocol):
    """Where peers run that a test cuts apart."""

    def grape(self) -> str:
        """Start a Grape; where its DHT listens."""
        ...

    def peer(self, name: str, bootstrap: str, *more: str) -> Process:
        """Start a peer, or start it again."""
        ...

    def weather(self, weather: Weather) -> None:
        """How it is between peers from now on."""
        ...

    def cut_off(self, names: Collection[str]) -> None:
        """These reach each other only; nobody else reaches them. Nobody means that all reach all."""
        ...


# -- the kernel's ---------------------------------------------------------------------------------------------


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(f"`{' '.join(command)}` says {done.stderr.strip()}")


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


class Namespaces:
    """A namespace for each process, none of them the machine's own: whatever happens in there stays there."""

    _counter = 0

    @staticmethod
    def why_not(*, weather: bool = False) -> str:
        """Why this machine cannot have them, with netem where *weather* is wanted; empty when it can."""
        if shutil.which("ip") is None:
            return "there is no `ip` command here"
        try:
            with Namespaces(Path(), weather=weather):
                pass
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"network namespaces cannot be used here: {error}"
        return ""

    def __init__(self, tmp_path: Path, *, weather: bool = False) -> None:
        """*weather* makes sure on entering that there can be some."""
        Namespaces._counter += 1
        self._prefix = f"dhtex-{os.getpid()}-{Namespaces._counter}"
        self._tmp_path = tmp_path
        self._wants_weather = weather
        self._places: dict[str, int] = {}  # name -> last byte of its address
        self._stack = contextlib.ExitStack()
        self._hub = f"{self._prefix}-hub"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._make(stack, self._hub)
            for bridge in ("whole", "split"):
                _ip("-n", self._hub, "link", "add", bridge, "type", "bridge")
                _ip("-n", self._hub, "link", "set", bridge, "up")
            _ip("-n", self._hub, "addr", "add", "10.77.0.1/24", "dev", "whole")
            if self._wants_weather:
                self._netem(self._hub, "whole", Weather(0.1, 0.01, 0.005))
                _run("tc", "-n", self._hub, "qdisc", "del", "dev", "whole", "root")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _make(self, stack: contextlib.ExitStack, name: str) -> None:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def _in(self, namespace: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", namespace, *DHTEX)

    def grape(self) -> str:
        """See `Network`."""
        own = ("--bind", "10.77.0.1", "--api-host", "127.0.0.1")
        process = grape(self._tmp_path, "grape", "", *own, launcher=self._in(self._hub))
        return dht_address(self._stack.enter_context(process))

    def peer(self, name: str, bootstrap: str, *more: str) -> Process:
        """See `Network`."""
        if name not in self._places:
            self._places[name] = number = len(self._places) + 2
            self._make(self._stack, f"{self._prefix}-{name}")
            _ip("link", "add", "eth0", "netns", f"{self._prefix}-{name}", "type", "veth",
                "peer", "name", f"to-{name}", "netns", self._hub)  # fmt: skip
            _ip("-n", self._hub, "link", "set", f"to-{name}", "master", "whole", "up")
            _ip("-n", f"{self._prefix}-{name}", "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            _ip("-n", f"{self._prefix}-{name}", "link", "set", "eth0", "up")
        own = ("--host", f"10.77.0.{self._places[name]}")
        launcher = self._in(f"{self._prefix}-{name}")
        process = peer(self._tmp_path, name, bootstrap, *own, *more, dev=False, launcher=launcher)
        return self._stack.enter_context(process)

    def weather(self, weather: Weather) -> None:
        """See `Network`."""
        for name in self._places:
            self._netem(f"{self._prefix}-{name}", "eth0", weather)

    def _netem(self, namespace: str, device: str, weather: Weather) -> None:
        late = (f"{weather.delay_s * 1000}ms", f"{weather.jitter_s * 1000}ms")
        how = ("netem", "delay", *late, "loss", f"{weather.loss:.0%}")
        _run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", *how)

    def cut_off(self, names: Collection[str]) -> None:
        """See `Network`."""
        for name in self._places:
            _ip("-n", self._hub, "link", "set", f"to-{name}", "master", "split" if name in names else "whole")


# -- the test's -----------------------------------------------------------------------------------------------


class Proxy:
    """A UDP socket in front of each peer; who sent a datagram is read from it (docs/reference/wire-format.md).

    What peer A sends to the front of B leaves from the front of A: so B, which answers to where a datagram came
    from, stays in here too. Grapes are reached directly.

    Attributes:
        tamper: an attacker on the wire; delivers what it returns instead of what was sent.
    """

    _KEY = slice(22, 54)  # of a datagram: the sender's public key

    def __init__(self, tmp_path: Path, rng: random.Random) -> None:
        self.tamper: Tamper | None = None
        self._tmp_path = tmp_path
        self._rng = rng
        self._weather = Weather()
        self._cut_off: frozenset[str] = frozenset()
        self._fronts: dict[str, socket.socket] = {}
        self._names: dict[NodeId, str] = {}
        self._real: dict[str, tuple[str, int]] = {}
        self._late: list[tuple[float, int, bytes, str, str]] = []
        self._count = 0
        self._stack = contextlib.ExitStack()
        self._wake, self._woken = socket.socketpair()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="lossy proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._ended = True
        self._wake.send(b".")
        self._thread.join()
        for each in (*self._fronts.values(), self._wake, self._woken):
            each.close()

    def grape(self) -> str:
        """See `Network`."""
        return dht_address(self._stack.enter_context(grape(self._tmp_path)))

    def peer(self, name: str, bootstrap: str, *more: str) -> Process:
        """See `Network`."""
        front = self.front(name, Home(self._tmp_path / "data").identity(name).node_id)
        own = ("--advertise", front)
        return self._stack.enter_context(peer(self._tmp_path, name, bootstrap, *own, *more, dev=False))

    def front(self, name: str, node_id: NodeId) -> str:
        """The address that stands for *name*, made when it is first asked for."""
        if name not in self._fronts:
            front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            front.bind(("127.0.0.1", 0))
            front.setblocking(False)
            self._names[node_id] = name
            self._fronts = {**self._fronts, name: front}  # replaced, not changed: the thread walks over it
            self._wake.send(b".")
        return f"127.0.0.1:{self._fronts[name].getsockname()[1]}"

    def weather(self, weather: Weather) -> None:
        """See `Network`."""
        self._weather = weather

    def cut_off(self, names: Collection[str]) -> None:
        """See `Network`."""
        self._cut_off = frozenset(names)

    def _run(self) -> None:
        while not self._ended:
            fronts = self._fronts
            patience = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            ready, _, _ = select.select([self._woken, *fronts.values()], [], [], patience)
            if self._woken in ready:
                self._woken.recv(64)
            for name, front in fronts.items():
                if front in ready:
                    self._take(name, front)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, datagram, sender, receiver = heapq.heappop(self._late)
                if receiver in self._real:
                    with contextlib.suppress(OSError):
                        fronts[sender].sendto(datagram, self._real[receiver])

    def _take(self, receiver: str, front: socket.socket) -> None:
        while True:
            try:
                datagram, source = front.recvfrom(65_536)
            except BlockingIOError:
                return
            except OSError:  # ICMP's word that a port was closed
                continue
            sender = self._names.get(node_id_of(PublicKey(datagram[self._KEY])))
            if sender is None:
                continue
            self._real[sender] = source  # as a NAT does: nobody can be reached before it spoke
            weather = self._weather
            if (sender in self._cut_off) is not (
                receiver in self._cut_off
            ) or self._rng.random() < weather.loss:
                continue
            for each in [datagram] if self.tamper is None else self.tamper(datagram):
                late = weather.delay_s + self._rng.uniform(-weather.jitter_s, weather.jitter_s)
                self._count += 1
                heapq.heappush(self._late, (time.monotonic() + late, self._count, each, sender, receiver))
