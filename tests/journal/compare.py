"""Are two durable states the same, as far as a replica can tell?"""

from __future__ import annotations

from typing import Any

from dhtex.replication.records import DurableState


def visible(state: DurableState) -> dict[str, Any]:
    """Everything a replica that resumes looks at; closed history only where it lies after the newest snapshot."""
    after = state.compacted if state.snapshot is None else max(state.compacted, state.snapshot.key)
    return {
        "incarnation": (state.incarnation, state.admitted),
        "ceiling": state.ceiling,
        "lineage": state.lineage,
        "view": state.view,
        "vote": state.vote,
        "snapshot": state.snapshot,
        "final": state.final,
        "compacted": state.compacted,
        "logs": {origin: log for origin, log in state.logs.items() if log},
        "pending": state.pending,
        "history": list(state.history(after)),
    }
