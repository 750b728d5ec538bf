"""A decoding process that does what a picture says, as one may whose decoder has a fault: see test_bounded.py."""

import os
import signal
import sys
import time
from pathlib import Path

from stepladder.data.images import bounded_child
from stepladder.data.images.decode import Undecodable

usual = bounded_child.made


def made(body: bytes, options: bounded_child.Options, boxes: list) -> tuple[bounded_child.Facts, bytes]:
    """Obey, or decode as usual."""
    word, _, rest = body.partition(b" ")
    match word:
        case b"signal":
            os.kill(os.getpid(), getattr(signal, rest.decode()))
        case b"exit":
            os._exit(7)
        case b"hang":
            time.sleep(1000)
        case b"spin":
            while True:
                pass
        case b"eat":
            return bytes(3_000_000_000)
        case b"slip":
            return nmupy  # noqa: F821
        case b"babble":
            os.write(0, b"\xff" * 1000)
        case b"write":
            Path(rest.decode()).write_bytes(bytes(10))
        case b"tell":
            told = {"environment": sorted(os.environ), "modules": sorted(sys.modules), "pid": os.getpid()}
            raise Undecodable("decode", repr(told))
    return usual(body, options, boxes)


if __name__ == "__main__":
    bounded_child.made = made
    bounded_child.main()
