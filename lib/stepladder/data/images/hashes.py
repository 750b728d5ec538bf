"""Pictures that are the same, or nearly: a hash of what is seen, and groups of hashes that lie close together.

Decisions:
- The hash says for 8 x 8 places whether it gets brighter to the right (dHash, N. Krawetz 2013): it stays when a
  picture is encoded again or has another size. A picture without detail has no such places: hash 0, which resembles
  nothing, for it would resemble every other one.
- Close pairs are found exactly and not by comparing all: of 4 parts of 16 bits, one differs in at most a quarter of the
  allowed bits (the pigeonhole principle; Norouzi, Punjani, Fleet 2012), so only hashes are compared that share a part
  or nearly. Equal hashes are one hash.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np
from PIL import Image

SIDE = 8  # places in a row, and rows
PARTS, BITS = 4, 16
MOST_AT_ONCE = 1 << 22  # pairs in memory
FLAT = 0  # the hash of a picture without detail


def dhash(image_YXC: np.ndarray) -> int:
    """64 bits, the first row's first place highest: 1 where it gets brighter to the right.

    Args:
        image_YXC: uint8 RGB (Y, X, 3).
    """
    grey = Image.fromarray(image_YXC).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BILINEAR)
    grey_YX = np.asarray(grey).astype(int)
    return int.from_bytes(np.packbits(grey_YX[:, 1:] > grey_YX[:, :-1]).tobytes(), "big")


def distance(first: int, second: int) -> int:
    """In how many bits two hashes differ."""
    return (first ^ second).bit_count()


def close_pairs(hashes: Iterable[int], most: int) -> np.ndarray:
    """All pairs of different hashes that differ in at most `most` bits: places (P, 2) in the order given, sorted.

    Hashes must be distinct; `most` is at most 15, beyond which more than a tenth of all pairs would be compared.

    Raises:
        ValueError: `most` is outside 0 to 15.
    """
    if not 0 <= most < PARTS * 4:
        raise ValueError(f"{most} bits: hashes are alike up to 15 bits at most")
    hashes_N = np.fromiter(hashes, np.uint64)
    found = [np.zeros((0, 2), np.int64)]
    for first_P, second_P in _candidates(hashes_N, most // PARTS):
        near_P = np.bitwise_count(hashes_N[first_P] ^ hashes_N[second_P]) <= most
        found.append(np.stack([first_P[near_P], second_P[near_P]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def groups(hashes: Iterable[int], most: int) -> np.ndarray:
    """Which pictures are nearly the same: (N,), for each the place of the first one of its group.

    A group is what chains of pairs within `most` bits hold together. Pictures without detail stand alone.

    Raises:
        ValueError: `most` is outside 0 to 15.
    """
    from scipy import sparse  # a third of a second that who only hashes need not pay
    from scipy.sparse import csgraph

    hashes_N = np.fromiter(hashes, np.uint64)
    distinct_U, which_N = np.unique(hashes_N, return_inverse=True)
    pairs_P2 = close_pairs(distinct_U, most)
    pairs_P2 = pairs_P2[(distinct_U[pairs_P2] != FLAT).all(axis=1)]
    joined = sparse.coo_array((np.ones(len(pairs_P2)), pairs_P2.T), shape=(len(distinct_U),) * 2)
    _, group_U = csgraph.connected_components(joined, directed=False)
    group_N = group_U[which_N].astype(np.int64)
    _, first, member_N = np.unique(group_N, return_index=True, return_inverse=True)
    return np.where(hashes_N == FLAT, np.arange(len(hashes_N)), first[member_N])


def placeholders(sha256s: Iterable[str], least: int = 5) -> set[str]:
    """Files that come under `least` addresses and more: "image removed" and the like."""
    return {sha256 for sha256, count in Counter(sha256s).items() if count >= least}


def _candidates(hashes_N: np.ndarray, differing: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places whose hashes agree in one of the parts up to `differing` bits, each at least once."""
    for part in range(PARTS):
        key_N = ((hashes_N >> np.uint64(part * BITS)) & np.uint64((1 << BITS) - 1)).astype(np.int64)
        order_N = np.argsort(key_N, kind="stable")
        begins = np.searchsorted(key_N[order_N], np.arange((1 << BITS) + 1))
        for flips in _flips(differing):
            probe_N = key_N ^ flips
            yield from _expanded(begins[probe_N], begins[probe_N + 1], order_N)


def _expanded(begin_N: np.ndarray, end_N: np.ndarray, order_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every place with those from `begin` to `end` of an order, first below second, a bounded number at once."""
    count_N = end_N - begin_N
    total_N = np.cumsum(count_N)
    cuts = np.searchsorted(total_N, np.arange(MOST_AT_ONCE, int(total_N[-1]) + 1, MOST_AT_ONCE)) if len(total_N) else []
    for places in np.split(np.arange(len(count_N)), cuts):
        first_P = np.repeat(places, count_N[places])
        within_P = np.arange(len(first_P)) - np.repeat(np.cumsum(count_N[places]) - count_N[places], count_N[places])
        second_P = order_N[np.repeat(begin_N[places], count_N[places]) + within_P]
        yield first_P[first_P < second_P], second_P[first_P < second_P]


def _flips(most: int) -> Iterator[int]:
    """Every number of 16 bits with at most `most` ones."""
    for count in range(most + 1):
        for bits in combinations(range(BITS), count):
            yield sum(1 << bit for bit in bits)
