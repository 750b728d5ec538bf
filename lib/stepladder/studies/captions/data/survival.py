"""What a list will give and take before any byte moves: pictures that still exist, gigabytes, hours.

Decisions:
- Links die. `REPORTED` holds what others got of lists of known age; the expected share falls exponentially with age, a
  least-squares line through its logarithms, and the interval is what all reports lie in. Nothing is said beyond five
  years. Whoever gets much less has a local fault first: the same lists gave 13 %, 5 % and 0.5 % behind a bad name
  server or proxy (datacomp#39, img2dataset#430, #400).
- A picture's bytes follow the side it is resized to, by a power law through what published downloads took (`TAKEN`,
  all JPEG of quality 95), within a quarter. How large pictures are as they are (`resize: no`) is not known beforehand.
- Time has two limits, and the slower one counts: all connections together, and the largest host, which is asked no
  faster than `per_second` and by no more than `per_host` connections. A picture holds a connection for `HELD_S`: 1.2 s
  on img2dataset's page of CC3M (1,024 threads, 850 pictures a second), 1.6 s on that of LAION-400M (2,048 threads,
  1,300 a second); that it may be a third faster is our guess.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stepladder.studies.captions.data.funnel import Funnel
from stepladder.studies.captions.params import CaptionsParams

REPORTED = pd.DataFrame(
    [
        ("DataComp", 0.1, 0.91, "datacomp#3"),
        ("DataComp", 0.1, 0.97, "ViTamin#3"),
        ("DataComp", 0.3, 0.865, "datacomp#39"),
        ("DataComp", 0.3, 0.88, "datacomp#41"),
        ("DataComp", 1.0, 0.66, "ViTamin#3"),
        ("CC12M", 1.8, 0.79, "conceptual-12m#9"),
        ("LAION-400M", 2.5, 0.68, "img2dataset#400"),
        ("CC12M", 4.7, 0.623, "conceptual-12m#9"),
    ],
    columns=["list", "years", "share", "source"],
)
OLDEST = 5.0  # years
TAKEN = ((256, 10e12 / 400e6), (256, 331e9 / 12.4e6), (512, 450e9 / 12.8e6))  # side, bytes: LAION-400M, CC12M, DataComp
TAKEN_WITHIN = 0.25
HELD_S = (0.8, 1.2, 1.6)  # least, expected, most


@dataclass(frozen=True)
class Range:
    """A value and the interval it lies in; nan where it is not known."""

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Range":
        """The same in another unit, or of so many."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)


def expected(years: float) -> Range:
    """The share of a list's pictures that is still there so many years after it was published.

    Raises:
        ValueError: for an age of which nothing was reported.
    """
    if not 0 <= years <= OLDEST:
        raise ValueError(f"lists of {years:g} years: survival was reported for 0 to {OLDEST:g} years")
    slope, level = np.polyfit(REPORTED["years"], np.log(REPORTED["share"]), 1)
    off = np.log(REPORTED["share"]) - level - slope * REPORTED["years"]
    low, middle, high = np.exp(level + slope * years + np.array([off.min(), 0, off.max()]))
    return Range(float(low), float(middle), min(1.0, float(high)))


def picture_bytes(params: CaptionsParams) -> Range:
    """Bytes of a kept picture on disk; nan where pictures keep their size."""
    if params.data.resize == "no":
        return Range(np.nan, np.nan, np.nan)
    side, taken = np.log(np.array(TAKEN)).T
    power, level = np.polyfit(side, taken, 1)
    middle = float(np.exp(level + power * np.log(params.data.side)))
    return Range(1 - TAKEN_WITHIN, 1, 1 + TAKEN_WITHIN).times(middle)


def by_age(asked: int, params: CaptionsParams) -> pd.DataFrame:
    """Pictures and GB (decimal) that `asked` rows will give, by the age of the list in years."""
    size, found = picture_bytes(params), []
    for years in range(int(OLDEST) + 1):
        share = expected(years)
        pictures = share.times(asked)
        disk = Range(*(getattr(pictures, end) * getattr(size, end) / 1e9 for end in ("low", "expected", "high")))
        row = {"age (years)": years, "survive": f"{share.expected:.0%} ({share.low:.0%} to {share.high:.0%})"}
        row |= {"pictures": round(pictures.expected), "at least": round(pictures.low), "at most": round(pictures.high)}
        found.append(row | {"GB": disk.expected, "GB at least": disk.low, "GB at most": disk.high})
    return pd.DataFrame(found)


def hours(funnel: Funnel, params: CaptionsParams) -> pd.DataFrame:
    """How long asking takes, by what limits it, the slower first: `limit, requests, hours, at least, at most`."""
    asks = funnel.asked + params.data.robots * funnel.distinct_hosts
    together = Range(*(asks * held / params.data.connections / 3600 for held in HELD_S))
    rows = [(f"{params.data.connections} connections", asks, together)]
    if len(funnel.hosts):
        host, count = funnel.hosts.iloc[0]
        rows.append((f"the largest host, {host}", int(count), host_hours(int(count), params)))
    table = [(limit, count, time.expected, time.low, time.high) for limit, count, time in rows]
    named = pd.DataFrame(table, columns=["limit", "requests", "hours", "at least", "at most"])
    return named.sort_values("hours", ascending=False, ignore_index=True)


def host_hours(rows: int, params: CaptionsParams) -> Range:
    """Hours that one host takes for so many rows, asked as politely as the parameters say."""
    each = (max(1 / params.data.per_second, held / params.data.per_host) for held in HELD_S)
    return Range(*each).times(rows / 3600)
