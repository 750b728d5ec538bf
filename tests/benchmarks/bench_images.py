"""Odd, broken and hostile pictures through the bounded decoder: crashes, hangs, memory, classes; near-duplicates.

Run `python tests/benchmarks/bench_images.py`: every file of Pillow's, scikit-image's, img2dataset's and webdataset's
test data in STEPLADDER_SHARED_DATA (pictures or not), and bombs made here: headers that promise gigapixels, 64
megapixels of every mode, a chunk of text that expands. Each is decoded, blurred, resized to 512 and hashed by one
process, which must neither die nor hang. Nothing of them is decoded outside of it.

The record is tests/benchmarks/records/images.json.
"""

import os
import resource
import struct
import time
import zlib
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stepladder.data.images import hashes
from stepladder.data.images.bounded import MEMORY, Decoder, Fault, Kept, Options
from stepladder.dev import records

SHARED = Path(os.environ.get("STEPLADDER_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
FOLDERS = ("python-pillow__Pillow", "scikit-image__scikit-image", "rom1504__img2dataset", "webdataset__webdataset")
HASHES, BITS = 100_000, 7
BOXES = ((0.2, 0.2, 0.6, 0.5),)


def main() -> None:
    """Decode everything, compare, record."""
    paths = [path for name in FOLDERS for path in sorted((SHARED / "captions" / name).rglob("*")) if path.is_file()]
    given = [path.read_bytes() for path in paths]
    rows = {"files": through(given), "bombs": through(list(bombs().values()))}
    near = grouped()
    records.write(__file__, {"rows": rows, "near": near, "memory": MEMORY})


def through(bodies: list[bytes]) -> dict[str, Any]:
    """What becomes of pictures, and what it costs their process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with Decoder(1) as decoder:
        found = decoder.run(bodies, Options(), [BOXES] * len(bodies))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    reasons = [one.reason for one in found if isinstance(one, Fault)]
    row = {
        "pictures": len(found),
        "kept": sum(isinstance(one, Kept) for one in found),
        "classed": dict(Counter(one.outcome for one in found if isinstance(one, Fault))),
        "crashes": sum("its process" in reason for reason in reasons),
        "hangs": sum("did not end" in reason or "longer than it may" in reason for reason in reasons),
        "peak_gb": after.ru_maxrss * 1024 / 1e9,  # the largest process that ended until now
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "seconds": time.perf_counter() - begin,
    }
    print(row, flush=True)
    return row


def bombs() -> dict[str, bytes]:
    """Files that are small and mean to be large."""
    files = {
        f"64 megapixels, {mode}": png_of(Image.new(mode, (8000, 8000))) for mode in ("1", "P", "LA", "RGBA", "I;16")
    }
    files["100 gigapixels"] = png(330_000, 330_000, b"")
    files["65 megapixels"] = png(65_000_000, 1, b"")
    files["rows that expand"] = png(8000, 8000, bytes(500_000_000))
    files["text that expands"] = png(8, 8, bytes(200), b"zTXtkey\x00\x00" + zlib.compress(bytes(500_000_000), 9))
    files["gigapixel GIF"] = b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b"," + bytes(20)
    canvas = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2
    files["WebP of the largest canvas"] = b"RIFF" + struct.pack("<I", len(canvas)) + canvas
    return files


def png_of(image: Image.Image) -> bytes:
    """A PNG file of a picture."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def png(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A grey PNG made by hand, whose header says anything."""

    def chunk(content: bytes) -> bytes:
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + (extra and chunk(extra)) + chunk(b"IDAT" + zlib.compress(rows)) + chunk(b"IEND")
    )


def grouped() -> dict[str, Any]:
    """Seconds to find near-duplicates among many hashes, a hundredth of them planted."""
    rng = np.random.Generator(np.random.Philox(14))
    many_N = rng.integers(1, 2**64, HASHES, dtype=np.uint64)
    for place in range(HASHES // 100):
        bits = rng.choice(64, BITS, replace=False)
        many_N[-1 - place] = int(many_N[place]) ^ sum(1 << int(bit) for bit in bits)
    begin = time.process_time()
    group_N = hashes.groups(many_N.tolist(), BITS)
    taken = time.process_time() - begin
    planted = np.arange(HASHES // 100)
    row = {"hashes": HASHES, "bits": BITS, "cpu_s": taken, "planted": len(planted)}
    row["found"] = int((group_N[HASHES - 1 - planted] == group_N[planted]).sum())
    print(row)
    return row


if __name__ == "__main__":
    main()
