"""Grape: discovery with Grenache's HTTP API, as a library and behind `dhtex grape`."""

from dhtex.grape.grape import Grape

__all__ = ["Grape"]
