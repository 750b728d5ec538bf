"""Numbers as people read them: so many significant digits without an exponent, sizes in bytes in decimal units.

The unit of sizes is chosen by size, so that small data is no column of zeros. A table or an axis has one, that of its
largest value (`unit`, `column`); a sentence has one for each number (`readable`).
"""

import math
from collections.abc import Sequence

UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3}


def unit(largest: float) -> tuple[str, float]:
    """Name and bytes of the unit in which sizes up to `largest` bytes are read: GB, or smaller where that is < 1."""
    return next(((name, size) for name, size in UNITS.items() if largest >= size), ("bytes", 1.0))


def readable(size: float) -> str:
    """Bytes with the unit they are read in: `7.0 GB`, `200.0 kB`."""
    name, one = unit(size)
    return f"{size / one:,.1f} {name}"


def column(sizes: Sequence[float | None]) -> tuple[str, list[float | None]]:
    """One unit for all `sizes`, that of the largest, and the sizes in it; None stays where nothing is known."""
    known = [size for size in sizes if size is not None and math.isfinite(size)]
    name, one = unit(max(known, default=0.0))
    return name, [None if size is None else size / one for size in sizes]


def digits(value: float, significant: int = 3) -> str:
    """`0.0123`, `64.3`, `1,370`: so many significant digits, of a large number all before the point."""
    return f"{value:,.0f}" if abs(value) >= 10**significant - 0.5 else f"{value:.{significant}g}"


def counted(number: int, name: str) -> str:
    """`1 stage`, `7 stages`."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
