"""What a peer must not forget, in one SQLite file: entries, votes, views, the clock's ceiling, snapshots.

See `docs/explanation/durability.md` for what it promises, `docs/reference/journal-format.md` for the file.
"""

from __future__ import annotations

from dhtex.journal.export import FinalEntry, final_entries
from dhtex.journal.journal import Journal
from dhtex.journal.schema import Durability
from dhtex.journal.summary import Summary, inspect
from dhtex.journal.verification import Verification, verify

__all__ = [
    "Durability",
    "FinalEntry",
    "Journal",
    "Summary",
    "Verification",
    "final_entries",
    "inspect",
    "verify",
]
