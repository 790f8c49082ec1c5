"""A peer-to-peer exchange."""
