"""Replicated logs to measure: dhtex itself (`peers`), and those it is compared with, each a module of its own.

A module that cannot run here raises `Missing` with the sentence that is shown instead of its row.
"""
