"""What was seen before, in memory that does not grow: a Bloom filter of which every key lies in one machine word.

After Bloom (1970), blocked as by Putze, Sanders and Singler (2007): a key is `BITS` of the 64 bits of one word. A key
that was never seen may be taken for a seen one, never the other way round; `false_rate` says how often. With the
default of 2^25 words (256 MB, of which the system gives what is touched) that is at last 7 in 100,000 where all rows
of DataComp-small are remembered by three keys each (38 million), 0.4 % for the basic filter's share of
DataComp-medium.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

WORDS = 1 << 25
BITS = 6
PIECE = 1 << 20
_ONE = np.uint64(1)


class Seen:
    """Remembers strings. Two kinds of keys do not meet where their `kind` differs."""

    def __init__(self, words: int = WORDS):
        self.table = np.zeros(words, np.uint64)

    def before(self, keys: pa.Array, kind: str, asked_N: np.ndarray) -> np.ndarray:
        """(N,) which of N keys were seen by `add`, or stand earlier among those asked for; empty keys never were.

        Args:
            keys: N strings.
            kind: what they are, such as `url`.
            asked_N: which of them count at all; the others are never seen.
        """
        place_N = np.flatnonzero(asked_N)
        code_K, mask_K = self._codes(keys, kind, place_N)
        seen_K = (self.table[code_K % np.uint64(len(self.table))] & mask_K) == mask_K
        earlier_K = np.ones(len(place_N), bool)
        earlier_K[np.unique(code_K, return_index=True)[1]] = False
        filled_K = pc.binary_length(keys).to_numpy(zero_copy_only=False)[place_N] > 0
        seen_N = np.zeros(len(asked_N), bool)
        seen_N[place_N] = (seen_K | earlier_K) & filled_K
        return seen_N

    def add(self, keys: pa.Array, kind: str, asked_N: np.ndarray) -> None:
        """Remember those of N keys that `asked_N` names."""
        code_K, mask_K = self._codes(keys, kind, np.flatnonzero(asked_N))
        np.bitwise_or.at(self.table, code_K % np.uint64(len(self.table)), mask_K)

    def false_rate(self) -> float:
        """The share of new keys that would now be taken for seen ones: the mean of (bits set / 64) ^ BITS."""
        words_B = np.zeros(65, np.int64)  # by how many bits are set in them
        for start in range(0, len(self.table), PIECE):
            words_B += np.bincount(np.bitwise_count(self.table[start : start + PIECE]), minlength=65)
        return float(words_B @ (np.arange(65) / 64) ** BITS / len(self.table))

    def _codes(self, keys: pa.Array, kind: str, place_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(K,) hashes of 64 bits that say the word, and (K,) masks of the bits within it."""
        strings = keys.take(pa.array(place_K)).to_numpy(zero_copy_only=False)
        code_K = pd.util.hash_array(strings, hash_key=f"{kind:_<16}"[:16], categorize=False)
        mask_K = np.zeros(len(code_K), np.uint64)
        bits_K = (code_K ^ (code_K >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)  # of which the upper half is
        for number in range(BITS):  # independent of the lower bits of the code, which say the word
            mask_K |= _ONE << ((bits_K >> np.uint64(64 - 6 * (number + 1))) & np.uint64(63))
        return code_K, mask_K
