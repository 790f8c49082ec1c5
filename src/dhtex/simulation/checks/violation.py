"""A rule was broken."""

from __future__ import annotations


class Violation(Exception):
    """A run is over: something happened that must not.

    Attributes:
        rule: a short fixed word, such as `one-history`.
        sentence: what exactly, with names and numbers.
    """

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(rule, sentence)  # as they are, so that it can travel between processes
        self.rule = rule
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"
