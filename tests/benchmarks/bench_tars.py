"""Random reads of 2,000 JPEG files with decoding: our tars against files with Pillow, and against webdataset.

Run `python tests/benchmarks/bench_tars.py`. The pictures (256 x 256, about 22 KB) are made here, and lie as files and
in four tars. Every reader hands over RGB arrays; ours and the files in a random order, webdataset in the order of the
tars, which is its fastest (with its shuffle beside it) and with the fastest of its own decoders. Readers take turns
every 100 pictures and the least CPU time of each stretch counts, since other processes share the machine. Bytes alone
are measured too: what is left of the difference when everybody decodes by the same library.

The record is tests/benchmarks/records/tars.json.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import webdataset
from PIL import Image

from stepladder.data.images import tars
from stepladder.data.images.decode import picture
from stepladder.dev import records

COUNT, TARS, SIDE, PASSES, STRETCH = 2000, 4, 256, 5, 100


def main() -> None:
    """Make the pictures, read them in every way, record."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        bodies = [made(number) for number in range(COUNT)]
        paths = written(folder, bodies)
        rows = measured(readers(folder, paths))
    ours, files = rows["tars"]["us"], rows["files + Pillow"]["us"]
    theirs = min(row["us"] for reader, row in rows.items() if reader.startswith("webdataset,"))
    ratios = {"files": files / ours, "webdataset": theirs / ours}
    ratios["webdataset_bytes"] = rows["webdataset bytes"]["us"] / rows["tars bytes"]["us"]
    print({name: round(value, 2) for name, value in ratios.items()})
    size = statistics.mean(map(len, bodies))
    records.write(__file__, {"rows": rows, "ratios": ratios, "pictures": COUNT, "bytes": size, "passes": PASSES})


def made(number: int) -> bytes:
    """A JPEG of soft shapes and grain, about 22 KB."""
    rng = np.random.Generator(np.random.Philox(key=[14, number]))
    soft = Image.fromarray(rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)).resize((SIDE, SIDE))
    grain_YX1 = rng.normal(0, 6, (SIDE, SIDE, 1))
    file = BytesIO()
    image_YXC = (np.asarray(soft) * 0.5 + 64 + grain_YX1).clip(0, 255).astype(np.uint8)
    Image.fromarray(image_YXC).save(file, "JPEG", quality=88)
    return file.getvalue()


def written(folder: Path, bodies: list[bytes]) -> list[Path]:
    """The pictures as files, and in tars: the paths of the tars."""
    for number, body in enumerate(bodies):
        (folder / f"{number:08d}.jpg").write_bytes(body)
    paths = [folder / f"{number}.tar" for number in range(TARS)]
    for path, numbers in zip(paths, np.split(np.arange(COUNT), TARS), strict=True):
        tars.write(path, ((f"{number:08d}.jpg", bodies[number]) for number in numbers))
    return paths


def readers(folder: Path, paths: list[Path]) -> dict[str, Callable[[], Iterator[bool]]]:
    """Ways to read all pictures once; each yields whether a picture is right."""
    order = np.random.Generator(np.random.Philox(14)).permutation(COUNT).tolist()
    files = [folder / f"{number:08d}.jpg" for number in order]
    several = tars.TarSet(paths)

    def theirs(decoder: str = "", shuffle: int = 0) -> Iterator[bool]:
        found = webdataset.WebDataset([str(path) for path in paths], shardshuffle=False)
        found = found.shuffle(shuffle) if shuffle else found
        found = found.decode(decoder) if decoder else found
        return (np.asarray(sample["jpg"]).shape == (SIDE, SIDE, 3) if decoder else True for sample in found)

    return {
        "tars": lambda: (picture(several.read(number, "jpg")).shape == (SIDE, SIDE, 3) for number in order),
        "files + Pillow": lambda: (
            np.asarray(Image.open(path).convert("RGB")).shape == (SIDE, SIDE, 3) for path in files
        ),
        "webdataset, rgb8": lambda: theirs("rgb8"),
        "webdataset, pilrgb": lambda: theirs("pilrgb"),
        "webdataset shuffled": lambda: theirs("rgb8", 1000),
        "tars bytes": lambda: (len(several.read(number, "jpg")) > 0 for number in order),
        "files bytes": lambda: (len(path.read_bytes()) > 0 for path in files),
        "webdataset bytes": lambda: theirs(),
    }


def measured(ways: dict[str, Callable[[], Iterator[bool]]]) -> dict[str, dict[str, float]]:
    """CPU microseconds a picture of every reader: the least of all passes by stretch; the median."""
    stretches = COUNT // STRETCH
    taken = {name: np.zeros((PASSES, stretches)) for name in ways}
    for turn in range(PASSES):
        readings = {name: read() for name, read in ways.items()}
        for stretch in range(stretches):
            for name, reading in readings.items():
                begin = time.process_time()
                right = sum(islice(reading, STRETCH))
                taken[name][turn, stretch] = (time.process_time() - begin) / STRETCH * 1e6
                if right != STRETCH:
                    raise RuntimeError(f"{name} read {right} of {STRETCH} pictures")
    rows = {name: {"us": us.min(0).mean(), "median_us": float(np.median(us))} for name, us in taken.items()}
    for name, row in rows.items():
        print(f"{name}: {row['us']:.0f} us of CPU a picture, median {row['median_us']:.0f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
