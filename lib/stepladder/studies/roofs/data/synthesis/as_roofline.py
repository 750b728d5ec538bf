"""Scenes as Roofline-Extraction publishes its crops: one MATLAB 7.3 file of images, heights and three line masks.

MATLAB counts the first axis fastest, so its (row, column, channel, crop) is (crop, channel, column, row) in HDF5.
Channels of the masks are eave, ridge, hip; there is none for valleys. Heights are metres above the ground.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.data.synthesis.raster import Canvas
from stepladder.studies.roofs.data.synthesis.scene import Scene

ELEMENTS = ("eave", "ridge", "hip")
WIDTH = 3.0  # pixels of a drawn line
HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."


def write(folder: Path, scenes: Iterator[list[Scene]], numbers: list[int]) -> set[Path]:
    """`imdb.mat` with the crops of all assets, one after the other."""
    path = folder / "imdb.mat"
    folder.mkdir(parents=True, exist_ok=True)
    crops = [scene for block in scenes for scene in block]
    fields = {
        "images": np.stack([scene.image_YXC.transpose(2, 1, 0) for scene in crops]),
        "depths": np.stack([scene.height_YX.astype(np.float32).T for scene in crops]),
        "elements": np.stack([elements(scene).transpose(0, 2, 1) for scene in crops]),
    }
    with h5py.File(path, "w", userblock_size=512, libver="earliest") as file:
        group = file.create_group("imdb")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        group.attrs["gsd_m"] = crops[0].gsd
        for name, field in fields.items():
            stored = group.create_dataset(name, data=field, compression="gzip", track_times=False)
            stored.attrs["MATLAB_class"] = np.bytes_("single" if field.dtype == np.float32 else "uint8")
    with path.open("r+b") as file:
        file.write(HEADER.ljust(116) + bytes(8) + b"\x00\x02IM")
    return {path}


def elements(scene: Scene) -> np.ndarray:
    """(3, Y, X) uint8, 255 on eaves, ridges, hips."""
    canvas = Canvas(len(scene.image_YXC), 1.0)
    mask_KYX = np.zeros((len(ELEMENTS), *canvas.shape), np.uint8)
    for x0, y0, x1, y1, kind in scene.lines_L5:
        if LINES[int(kind)] in ELEMENTS:
            window, distance = canvas.distance(np.array([x0, y0]), np.array([x1, y1]), WIDTH)
            mask_KYX[ELEMENTS.index(LINES[int(kind)])][window][distance <= WIDTH / 2] = 255
    return mask_KYX
