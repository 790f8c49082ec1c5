"""Every test of this folder fails when an exception reaches the event loop, or a task outlives it."""

from loop_guard import nothing_reaches_the_loop

__all__ = ["nothing_reaches_the_loop"]
