"""What a peer must not forget, in one SQLite file: entries, votes, views, the clock's ceiling, snapshots.

See `docs/explanation/durability.md` for what it promises, `docs/reference/journal-format.md` for the file.
"""

from __future__ import annotations

from dhtex.journal.journal import Journal
from dhtex.journal.schema import Durability

__all__ = ["Durability", "Journal"]
