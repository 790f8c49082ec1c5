"""Numbers of a node, in one place; relations between them are checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from dhtex.dht.limits import Rates
from dhtex.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of a node; the defaults are the original Grape's where it has them.

    Attributes:
        ksize: k of the paper: contacts in a bucket, nodes that keep a key.
        alpha: requests of one look-up under way that are not late.
        concurrency: requests of one look-up under way at all, the original's `--dc`.
        age_s: life of an announcement that is not repeated, the original's `--dpa`.
        answer_age_s: how long a look-up's answer may serve again at a node that keeps the key itself, and so
            hears of every change; 0 asks the network each time.
        liveness_s: a contact silent for so long is pinged, the original's `--dnl`.
        items_max: stored items, the original's `--dht_maxValues`.
        names_max: names whose last answer is remembered, the original's `--dht_maxTables`.
        announcements_max: stored announcements.
        retry_s: first pause before the bootstrap is tried again; doubles up to `retry_s_max`.
        retry_s_max: longest such pause.
        rates: what one source of datagrams may cost.
    """

    ksize: int = 20
    alpha: int = 8
    concurrency: int = 24
    age_s: float = 120.0
    answer_age_s: float = 1.0
    liveness_s: float = 300.0
    items_max: int = 5_000
    names_max: int = 5_000
    announcements_max: int = 20_000
    retry_s: float = 0.5
    retry_s_max: float = 30.0
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        if self.ksize < 1 or self.alpha < 1 or self.concurrency < self.alpha:
            raise UsageError("ksize and alpha are at least 1, and concurrency is at least alpha")
        if min(self.age_s, self.liveness_s, self.retry_s) <= 0 or self.retry_s_max < self.retry_s:
            raise UsageError(
                "age, liveness and retry times are above 0 seconds, the longest retry not below the first"
            )
        if min(self.items_max, self.names_max, self.announcements_max) < 1:
            raise UsageError("limits of stored things are at least 1")


DEFAULTS = Settings()
