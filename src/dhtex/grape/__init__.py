"""Grape: discovery with Grenache's HTTP API, as a library and behind `dhtex grape`."""

from dhtex.dht import BootstrapReached, BootstrapUnreachable, EventStream, Settings
from dhtex.grape.grape import Grape

__all__ = ["BootstrapReached", "BootstrapUnreachable", "EventStream", "Grape", "Settings"]
