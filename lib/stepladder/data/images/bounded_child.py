"""The process that decodes pictures for `bounded.Decoder`, one at a time; it may die of any of them.

Decisions:
- It limits itself before the first byte of a picture: memory, CPU time of a picture, no file it could write, no core
  file. It has neither the parent's environment nor its modules, and ends when the parent does.
- Messages are a JSON object and bytes, each with its length before it: what comes from a process that a picture may
  have taken over is never unpickled.
- A picture's fault is an answer; an error of ours goes to the parent with its traceback and ends the run.
"""

import hashlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from stepladder.data.images import hashes, resize
from stepladder.data.images.blur import blur
from stepladder.data.images.decode import MOST_PIXELS, Box, Decoded, Undecodable, decoded, turned
from stepladder.machine import oom, signals

LENGTHS = struct.Struct("!II")
MOST_BYTES = 1 << 29  # of a message


@dataclass(frozen=True)
class Options:
    """What is made of every picture.

    Attributes:
        side: pixels that `mode` speaks of.
        mode: see `resize.resize`.
        only_smaller: leave pictures as they are that would grow.
        least_side: pictures whose smaller side is below are `too_small`.
        most_pixels: pictures of more are `too_many_pixels`; the memory of a process is meant for 64 million.
        quality: of JPEG, where a picture is encoded anew.
    """

    side: int = 512
    mode: resize.Mode = "keep_ratio_largest"
    only_smaller: bool = True
    least_side: int = 0
    most_pixels: int = MOST_PIXELS
    quality: int = 95


@dataclass(frozen=True)
class Facts:
    """What is known of a picture that is kept.

    Attributes:
        width, height: as it is kept.
        original_width, original_height: as it came, upright.
        sha256: of the bytes that came.
        dhash: of the picture that came, before it was blurred or resized.
    """

    width: int
    height: int
    original_width: int
    original_height: int
    sha256: str
    dhash: int


def made(body: bytes, options: Options, boxes: list[Box]) -> tuple[Facts, bytes]:
    """A picture as it is kept: its facts and a JPEG; the very bytes that came, where nothing is to be changed.

    Raises:
        Undecodable: as `decode.picture`, or `too_small`.
    """
    found = decoded(body, options.most_pixels)
    height, width = found.image_YXC.shape[:2]
    if min(height, width) < options.least_side:
        raise Undecodable("too_small", f"{width} x {height}: no side may be below {options.least_side}")
    image_YXC = _changed(found, options, boxes)
    kept = body if image_YXC is found.image_YXC and found.plain else _jpeg(image_YXC, options.quality)
    sizes = image_YXC.shape[1], image_YXC.shape[0], width, height
    return Facts(*sizes, hashlib.sha256(body).hexdigest(), hashes.dhash(found.image_YXC)), kept


def _changed(found: Decoded, options: Options, boxes: list[Box]) -> np.ndarray:
    """The picture blurred and resized; the one that was found, where neither changes it.

    Boxes are shares of the picture before a border or a crop, and the blur costs less on fewer pixels.
    """
    image_YXC, side, mode = found.image_YXC, options.side, options.mode
    upright = turned(boxes, found.orientation)
    if not resize.changes(image_YXC, side, mode, options.only_smaller):
        return blur(image_YXC, upright)
    return resize.fitted(blur(resize.scaled(image_YXC, side, mode), upright), side, mode)


def _jpeg(image_YXC: np.ndarray, quality: int) -> bytes:
    file = BytesIO()
    Image.fromarray(image_YXC).save(file, "JPEG", quality=quality)
    return file.getvalue()


def main() -> None:
    """Limit this process, say so, then answer until the parent ends."""
    memory, cpu_s, parent = (int(text) for text in sys.argv[1:])
    signals.die_with_parent(parent=parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for the parent, which ends us
    oom.go_first()
    for what, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _limit(what, most)
    with socket.socket(fileno=os.dup(0)) as pipe:
        send(pipe, {"ready": True}, b"")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there what they think of a picture
        while (message := receive(pipe)) is not None:
            _limit_cpu(cpu_s)
            send(pipe, *_answer(*message))


def _answer(asked: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        facts, kept = made(body, Options(**asked["options"]), [tuple(box) for box in asked["boxes"]])
        return {"facts": asdict(facts), "same": kept is body}, b"" if kept is body else kept
    except Undecodable as error:
        return {"outcome": error.outcome, "reason": error.reason}, b""
    except MemoryError:
        return {"outcome": "decode", "reason": "needs more memory than it may have"}, b""
    except Exception:
        return {"error": traceback.format_exc()}, b""


def _limit(what: int, most: int) -> None:
    """Set a limit for good, or leave it where it is lower already."""
    _, highest = resource.getrlimit(what)
    most = most if highest == resource.RLIM_INFINITY else min(most, highest)
    resource.setrlimit(what, (most, most))


def _limit_cpu(seconds: int) -> None:
    """Have the system end this process (SIGXCPU) after so many more seconds of computing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def send(pipe: socket.socket, head: dict[str, Any], body: bytes) -> None:
    """Send a message; raises OSError where nobody listens, TimeoutError after the socket's timeout."""
    text = json.dumps(head).encode()
    pipe.sendall(LENGTHS.pack(len(text), len(body)) + text)
    pipe.sendall(body)


def receive(pipe: socket.socket, until: float | None = None) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the other side has ended.

    Args:
        pipe: where it comes.
        until: when waiting ends, by `time.monotonic`.

    Raises:
        TimeoutError: it is not whole by then.
        ValueError: it is none.
    """
    lengths = _exactly(pipe, LENGTHS.size, until)
    if lengths is None:
        return None
    of_text, of_body = LENGTHS.unpack(lengths)
    if max(of_text, of_body) > MOST_BYTES:
        raise ValueError(f"a message of {of_text} and {of_body} bytes")
    text, body = _exactly(pipe, of_text, until), _exactly(pipe, of_body, until)
    return None if text is None or body is None else (json.loads(text), body)


def _exactly(pipe: socket.socket, length: int, until: float | None) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        if until is not None:
            pipe.settimeout(max(0.001, until - time.monotonic()))
        part = pipe.recv(min(length - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main()
