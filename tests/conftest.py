"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# Hypothesis fails an example that takes over 200 ms: on a busy machine any does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
