"""Where a peer keeps what must survive it: a folder with one key file an identity and one journal a market.

<data directory>/
  identities/<name>.key                       who the peer is, mode 0600
  journals/<symbol>-<group>-<node>.journal    what it knows of one market
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from dhtex.errors import StorageError, UsageError
from dhtex.identity import Identity, NodeId, short_id
from dhtex.matching import MarketSpec
from dhtex.peer.keyfile import load_or_create

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)


def default_data_dir() -> Path:
    """The folder for this user's dhtex data, as the platform has it; not created here."""
    return Path(platformdirs.user_data_dir("dhtex", appauthor=False))


@dataclass(frozen=True, slots=True)
class Home:
    """A data directory.

    Attributes:
        path: the folder; made when it is first needed, readable by its owner only.
    """

    path: Path

    def identity(self, name: str) -> Identity:
        """The identity called *name*, made on first use.

        Raises:
            UsageError: *name* is not 1 to 64 letters, digits, `.`, `_` and `-`.
            StorageError: the folder or the key file cannot be used; the sentence says why.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"identity {name!r} is not 1 to 64 letters, digits and . _ -")
        self._make(self.path / "identities")
        return load_or_create(self.path / "identities" / f"{name}.key")

    def journal(self, spec: MarketSpec, node_id: NodeId) -> Path:
        """Where the journal of one market and one node lies; the folder exists afterwards.

        Raises:
            StorageError: the folder cannot be made.
        """
        self._make(self.path / "journals")
        symbol = _UNSAFE.sub("_", spec.symbol)
        return self.path / "journals" / f"{symbol}-{spec.group_id[:4].hex()}-{short_id(node_id)}.journal"

    @staticmethod
    def _make(folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot use {folder}: {error.strerror}; choose another folder with --data-dir, or run --ephemeral"
            ) from error
