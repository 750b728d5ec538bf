"""Bounded decoding: whatever a picture does to its process costs that picture, and nothing else."""

import ast
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from stepladder.data.images import bounded, hashes
from stepladder.data.images.bounded import Decoder, Fault, Kept, Options
from stepladder.data.images.decode import ORIENTATION, picture

OBEDIENT = (str(Path(__file__).with_name("obedient_child.py")),)
AS_THEY_ARE = Options(mode="no")


def photograph(height: int = 48, width: int = 64, kind: str = "JPEG", **how) -> bytes:
    """A file of a smooth coloured picture."""
    y_YX, x_YX = np.mgrid[:height, :width]
    image_YXC = np.stack([x_YX * 4 % 256, y_YX * 5 % 256, (x_YX + y_YX) % 256], axis=2).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(image_YXC).save(file, kind, **how)
    return file.getvalue()


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that do what a picture says."""
    monkeypatch.setattr(bounded, "PROGRAM", OBEDIENT)


def test_a_jpeg_that_needs_no_change_keeps_its_bytes() -> None:
    body = photograph()
    with Decoder(1) as decoder:
        [kept] = decoder.run([body], Options())
    assert isinstance(kept, Kept) and kept.body == body and kept.ending == "jpg"
    assert kept.sha256 == hashlib.sha256(body).hexdigest() and kept.dhash == hashes.dhash(picture(body))
    assert (kept.width, kept.height, kept.original_width, kept.original_height) == (64, 48, 64, 48)
    assert kept.as_json()["dhash"] == f"{kept.dhash:016x}" and "body" not in kept.as_json()


def test_what_is_changed_is_a_jpeg_of_the_size_asked_for() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    bodies = [photograph(kind="PNG"), photograph(exif=exif), photograph(300, 600)]
    with Decoder(2) as decoder:
        small = decoder.run(bodies, Options(side=32))
        same = decoder.run([*bodies, photograph()], AS_THEY_ARE, [(), (), (), [(0.2, 0.2, 0.8, 0.8)]])
    assert [(one.width, one.height) for one in small] == [(32, 24), (24, 32), (32, 16)]
    assert [(one.original_width, one.original_height) for one in small] == [(64, 48), (48, 64), (600, 300)]
    for one in (*small, *same):
        decoded_YXC = np.asarray(Image.open(BytesIO(one.body)))
        assert decoded_YXC.shape == (one.height, one.width, 3) and one.body.startswith(b"\xff\xd8\xff")
    assert same[2].body == bodies[2] and same[3].body != photograph()
    for body, one in zip(bodies[:2], same[:2], strict=True):
        assert np.abs(picture(one.body).astype(int) - picture(body)).mean() < 3


def test_a_box_is_blurred_where_the_file_stores_it() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    rng = np.random.Generator(np.random.Philox(1))
    file = BytesIO()
    Image.fromarray(rng.integers(0, 256, (100, 200)).astype(np.uint8)).save(file, "PNG", exif=exif)
    with Decoder(1) as decoder:
        [kept] = decoder.run([file.getvalue()], AS_THEY_ARE, [[(0.0, 0.0, 0.3, 0.3)]])
    changed_YX = np.abs(picture(kept.body).astype(int) - picture(file.getvalue())).max(axis=2) > 60
    assert changed_YX.shape == (200, 100) and changed_YX[:50, 75:].mean() > 0.3 and changed_YX[120:].mean() < 0.01


def test_a_picture_whose_box_is_none_is_not_shown_unblurred() -> None:
    boxes = [[(0.1, 0.1, 0.5)], [(0.1, None, 0.5, 0.5)], []]
    with Decoder(1) as decoder:
        broken, empty, kept = decoder.run([photograph()] * 3, Options(), boxes)
        assert decoder.run([], Options(), []) == decoder.run([], Options()) == []
    assert broken == empty == Fault("decode", "a box to blur is not four numbers, so nothing is shown")
    assert isinstance(kept, Kept)


def test_pictures_that_are_too_small_or_none_have_their_class() -> None:
    bodies = [photograph(10, 90), b"<html>", b"", photograph()[:300], photograph(90, 90)]
    with Decoder(1) as decoder:
        found = decoder.run(bodies, Options(least_side=48, most_pixels=8000))
    outcomes = [one.outcome for one in found if isinstance(one, Fault)]
    assert outcomes == ["too_small", "not_image", "empty", "decode", "too_many_pixels"]


def test_what_kills_its_process_costs_itself_alone(obedient: None) -> None:
    good = photograph()
    bad = [b"signal SIGSEGV", b"signal SIGKILL", b"signal SIGABRT", b"exit", b"eat", b"babble"]
    with Decoder(2) as decoder:
        found = decoder.run([body for one in bad for body in (good, one)] + [good], Options())
        assert len(decoder._children) <= 2
    assert all(isinstance(one, Kept) and one.body == good for one in found[::2])
    assert {one.outcome for one in found[1::2]} == {"decode"}
    told = [one.reason for one in found[1::2]]
    expected = ["SIGSEGV", "SIGKILL", "SIGABRT", "ended (7)", "more memory", ""]
    assert [part in reason for part, reason in zip(expected, told, strict=True)] == [True] * len(bad), told


@pytest.mark.slow
def test_what_never_ends_costs_itself_alone(obedient: None) -> None:
    with Decoder(1, cpu_seconds=1) as decoder:
        [spun] = decoder.run([b"spin"], Options())
        decoder.run([photograph()], Options())
        decoder.seconds = 0.5
        [hung] = decoder.run([b"hang"], Options())
        decoder.seconds = 60
        [kept] = decoder.run([photograph()], Options())
    assert spun == Fault("decode", "computed longer than it may")
    assert hung == Fault("decode", "did not end within 0.5 s") and isinstance(kept, Kept)


def test_a_process_that_died_while_idle_costs_nothing(obedient: None) -> None:
    with Decoder(1) as decoder:
        [told] = decoder.run([b"tell"], Options())
        pid = ast.literal_eval(told.reason)["pid"]
        os.kill(pid, signal.SIGKILL)
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert isinstance(decoder.run([photograph()], Options())[0], Kept)


def test_an_error_of_ours_ends_the_run_with_its_traceback(obedient: None) -> None:
    with Decoder(1) as decoder, pytest.raises(RuntimeError, match=r"obedient_child(.|\n)*NameError.*nmupy"):
        decoder.run([photograph(), b"slip", photograph()], Options())


def test_processes_that_cannot_start_end_the_run(monkeypatch) -> None:
    monkeypatch.setattr(bounded, "PROGRAM", ("-c", "raise SystemExit(3)"))
    with Decoder(1) as decoder, pytest.raises(RuntimeError, match=r"did not start .*code 3"):
        decoder.run([photograph()], Options())


def test_a_process_finds_no_secret_no_torch_and_writes_no_file(obedient: None, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "not to be seen")
    with Decoder(1) as decoder:
        [told] = decoder.run([b"tell"], Options())
        with pytest.raises(RuntimeError, match="File too large"):
            decoder.run([b"write " + str(tmp_path / "file").encode()], Options())
    seen = ast.literal_eval(told.reason)
    assert "WANDB_API_KEY" not in seen["environment"]
    assert not {"torch", "pandas", "cv2", "h5py", "matplotlib"} & {name.partition(".")[0] for name in seen["modules"]}
    assert (tmp_path / "file").stat().st_size == 0


def test_processes_end_with_the_decoder(obedient: None) -> None:
    with pytest.raises(KeyboardInterrupt), Decoder(2) as decoder:
        for _ in decoder.stream([(photograph(), ()), (b"hang", ()), (b"hang", ())], Options()):
            pids = [child.process.pid for child in decoder._children]
            raise KeyboardInterrupt
    assert pids and not any(map(psutil.pid_exists, pids))


def test_a_process_that_begins_as_the_decoder_ends_is_ended(obedient: None, monkeypatch) -> None:
    begun, usual = threading.Event(), bounded._Child.__init__

    def slowly(self, *arguments) -> None:
        usual(self, *arguments)
        begun.set()
        time.sleep(0.5)  # meanwhile the decoder ends

    monkeypatch.setattr(bounded._Child, "__init__", slowly)
    with Decoder(1, seconds=30) as decoder:
        future = decoder._threads.submit(decoder._one, b"hang", Options(), ())
        begun.wait()
    assert "SIGKILL" in future.result().reason


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom stepladder.data.images import bounded\n"
        f"bounded.PROGRAM = {OBEDIENT!r}\n"
        "with bounded.Decoder(2) as decoder:\n"
        "    for told in decoder.stream([(b'tell', ()), (b'tell', ()), *[(b'hang', ())] * 9], bounded.Options()):\n"
        "        print(told.reason, flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        pids = [ast.literal_eval(parent.stdout.readline().decode())["pid"] for _ in range(1)]
        parent.kill()
    end = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids))


def test_pictures_are_taken_as_they_are_read() -> None:
    taken = []

    def pictures():
        for number in range(60):
            taken.append(number)
            yield photograph(), ()

    with Decoder(1) as decoder:
        stream = decoder.stream(pictures(), Options())
        next(stream)
        assert len(taken) <= 6
        assert sum(isinstance(one, Kept) for one in stream) == 59


def test_every_odd_and_broken_file_is_decoded_or_classed(shared_data: Path) -> None:
    folder = shared_data / "captions"
    repositories = (
        "python-pillow__Pillow",
        "scikit-image__scikit-image",
        "rom1504__img2dataset",
        "webdataset__webdataset",
    )
    paths = [path for name in repositories for path in sorted((folder / name).rglob("*")) if path.is_file()]
    with Decoder(1) as decoder:
        found = decoder.run([path.read_bytes() for path in paths], Options())
    by_name = {path.name: one for path, one in zip(paths, found, strict=True)}
    assert len(paths) > 200 and not any("process" in one.reason for one in found if isinstance(one, Fault))
    kept = [one for one in found if isinstance(one, Kept)]
    assert len(kept) > 100 and all(max(one.width, one.height) <= 512 for one in kept)
    assert by_name["truncated.jpg"].outcome == by_name["broken_data_stream.png"].outcome == "decode"
    assert by_name["decompression_bomb.gif"].outcome == "too_many_pixels"
    assert {by_name[name].outcome for name in ("hopper.bmp", "hopper.psd", "hopper.tar", "LICENSE")} == {"not_image"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16"])
def test_the_largest_pictures_fit_into_the_memory_of_a_process(mode: str) -> None:
    file = BytesIO()
    Image.new(mode, (8000, 8000)).save(file, "PNG", compress_level=1)
    with Decoder(1) as decoder:
        [found] = decoder.run([file.getvalue()], Options())
    assert isinstance(found, Kept) and (found.width, found.height) == (512, 512)
