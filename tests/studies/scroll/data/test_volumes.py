"""Every format gives the same voxels in the same order, by region, and says by name what it cannot read."""

import json
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.studies.scroll.data.faults import write_zarr
from stepladder.studies.scroll.data.readers.volume import WHOLE, VolumeError
from stepladder.studies.scroll.data.volumes import digest, open_volume, raw_files, stem

VOXELS = np.random.default_rng(0).integers(0, 60000, (20, 24, 28)).astype(np.uint16)
BOX = (slice(3, 17), slice(0, 9), slice(11, None))
FORMATS = ("stack.tif", "plain.tif", "slices", "volume.nii.gz", "volume.nii", "volume.nrrd", "v2.zarr", "v3.zarr")


def write(folder: Path, name: str, voxels: np.ndarray = VOXELS) -> Path:
    """`voxels` in the format that `name` tells."""
    path = folder / name
    if name == "stack.tif":
        tifffile.imwrite(path, voxels, compression="lzw")
    elif name == "plain.tif":  # as other programs write stacks: no description, one page after the other
        with tifffile.TiffWriter(path) as file:
            for slice_YX in voxels:
                file.write(slice_YX, metadata=None, contiguous=False)
    elif name == "slices":
        path.mkdir()
        for z, slice_YX in enumerate(voxels):
            tifffile.imwrite(path / f"{z:03d}.tif", slice_YX)
        (path / "meta.json").write_text(json.dumps({"slices": len(voxels), "voxelsize": 7.91}))
    elif ".nii" in name:
        image = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([0.003, 0.002, 0.001, 1]))
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
    elif name == "volume.nrrd":
        header = {"space directions": np.diag([0.003, 0.002, 0.001]), "space": "left-posterior-superior"}
        nrrd.write(str(path), voxels, header, index_order="C")
    else:
        write_zarr(path, voxels, version=int(name[1]), chunk=8)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_voxels_by_region(tmp_path, name):
    volume = open_volume(write(tmp_path, name))
    assert volume.shape == VOXELS.shape and volume.dtype == np.uint16
    assert np.array_equal(volume.read(WHOLE), VOXELS)
    assert np.array_equal(volume.read(BOX), VOXELS[BOX])
    assert volume.gaps(WHOLE) == ()


@pytest.mark.parametrize("name", FORMATS)
def test_spacing_is_in_micrometres_along_z_y_x(tmp_path, name):
    told = {"slices": (7.91,) * 3, "v2.zarr": (7.91,) * 3, "v3.zarr": (7.91,) * 3}
    expected = told.get(name, None if name.endswith(".tif") else (1.0, 2.0, 3.0))
    spacing = open_volume(write(tmp_path, name)).spacing
    assert spacing == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("version", [2, 3])
def test_a_region_of_a_zarr_volume_needs_only_its_own_chunks(tmp_path, version):
    path = write(tmp_path, f"v{version}.zarr")
    chunks = [p for p in raw_files(path) if p.name[0].isdigit()]
    for chunk in chunks:
        place = chunk.relative_to(path / "0").as_posix().removeprefix("c/").replace("/", ".")
        if place != "1.1.1":
            chunk.write_bytes(b"damaged")
    volume, box = open_volume(path), (slice(8, 16),) * 3
    assert np.array_equal(volume.read(box), VOXELS[box])
    with pytest.raises(VolumeError, match=path.name):
        volume.read(WHOLE)


@pytest.mark.parametrize("version", [2, 3])
def test_missing_chunks_are_the_fill_value_and_counted_in_their_region(tmp_path, version):
    path = write(tmp_path, f"v{version}.zarr")
    name = "1.1.1" if version == 2 else "c/1/1/1"
    (path / "0" / name).unlink()
    volume = open_volume(path)
    (issue,) = volume.gaps(WHOLE)
    assert issue.count == 1 and name in issue.example and path.name in issue.example
    assert volume.gaps((slice(0, 8), slice(None), slice(None))) == ()
    expected = VOXELS.copy()
    expected[8:16, 8:16, 8:16] = 0
    assert np.array_equal(volume.read(WHOLE), expected)


def test_levels_leading_axes_and_bare_arrays_of_zarr(tmp_path):
    group = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    datasets = [{"path": str(level)} for level in range(2)]
    group.attrs["multiscales"] = [{"axes": ["t", "c", "z", "y", "x"], "datasets": datasets}]
    for level in range(2):
        voxels = VOXELS[:: level + 1, :: level + 1, :: level + 1][None, None]
        group.create_array(str(level), shape=voxels.shape, chunks=(1, 1, 8, 8, 8), dtype="u2")[...] = voxels
    assert np.array_equal(open_volume(tmp_path / "p.zarr", level=1).read(BOX), VOXELS[::2, ::2, ::2][BOX])
    with pytest.raises(VolumeError, match=r"conversion.level = 2"):
        open_volume(tmp_path / "p.zarr", level=2)
    assert np.array_equal(open_volume(tmp_path / "p.zarr" / "0").read(BOX), VOXELS[BOX])
    group.create_array("two", shape=(2, 4, 4, 4), dtype="u2")
    with pytest.raises(VolumeError, match="axes of length one"):
        open_volume(tmp_path / "p.zarr" / "two")


def test_missing_slices_are_zero_and_counted(tmp_path):
    path = write(tmp_path, "slices")
    for z in (4, 19):
        (path / f"{z:03d}.tif").unlink()
    volume = open_volume(path)
    assert volume.shape == VOXELS.shape, "meta.json tells the depth"
    (issue,) = volume.gaps(WHOLE)
    assert issue.count == 2 and "z = 4" in issue.example
    found = volume.read(WHOLE)
    assert not found[[4, 19]].any() and np.array_equal(found[5:19], VOXELS[5:19])


def test_a_slice_of_another_shape_is_named(tmp_path):
    path = write(tmp_path, "slices")
    tifffile.imwrite(path / "007.tif", VOXELS[0, 1:])
    with pytest.raises(VolumeError, match=r"slices/007\.tif is \(23, 28\)"):
        open_volume(path).read(WHOLE)


@pytest.mark.parametrize("name", ["{}.tif", "img_{}.tif", "scan2-{}.tiff"])
def test_slices_go_by_the_number_at_the_end_of_their_names(tmp_path, name):
    """Without leading zeros the order of names is not that of numbers: 1, 10, 11, 2."""
    (tmp_path / "slices").mkdir()
    for z, slice_YX in enumerate(VOXELS):
        if z != 12:
            tifffile.imwrite(tmp_path / "slices" / name.format(z + 5), slice_YX)
    (tmp_path / "slices" / "._img_5.tif").write_bytes(b"what a Mac leaves behind")
    volume = open_volume(tmp_path / "slices")
    expected = VOXELS.copy()
    expected[12] = 0
    assert np.array_equal(volume.read(WHOLE), expected) and volume.absent_Z == (12,)
    assert [issue.count for issue in volume.gaps(WHOLE)] == [1]


def test_slices_named_otherwise_go_by_name(tmp_path):
    (tmp_path / "slices").mkdir()
    for name, slice_YX in zip("acb", VOXELS, strict=False):
        tifffile.imwrite(tmp_path / "slices" / f"{name}7.tif", slice_YX)
    assert np.array_equal(open_volume(tmp_path / "slices").read(WHOLE), VOXELS[[0, 2, 1]])


@pytest.mark.parametrize(
    ("name", "slice_YX", "reason"),
    [
        ("07.tif", VOXELS[0], r"holds slice 7 twice, 007\.tif and 07\.tif: keep one"),
        ("020.tif", VOXELS[0], r"holds slice 20, but meta\.json tells of 20, counted from 0"),
        ("007.tif", VOXELS[0].astype(np.uint8), r"slices/007\.tif is \(24, 28\) uint8, other slices \(24, 28\) uint16"),
        ("000.tif", np.zeros((24, 28, 3), np.uint16), r"images of shape \(24, 28, 3\), not grey slices"),
    ],
)
def test_slices_that_do_not_fit_the_others_are_named(tmp_path, name, slice_YX, reason):
    path = write(tmp_path, "slices")
    tifffile.imwrite(path / name, slice_YX)
    with pytest.raises(VolumeError, match=reason):
        open_volume(path).read(WHOLE)


@pytest.mark.parametrize("odd_YX", [VOXELS[7, 1:], VOXELS[7].astype(np.uint8)])
def test_a_stack_with_an_odd_page_is_refused(tmp_path, odd_YX):
    with tifffile.TiffWriter(tmp_path / "odd.tif") as file:
        for z, slice_YX in enumerate(VOXELS):
            file.write(odd_YX if z == 7 else slice_YX, metadata=None, contiguous=False)
    with pytest.raises(VolumeError, match=r"odd\.tif holds pages of different shapes or types"):
        open_volume(tmp_path / "odd.tif")


def test_slices_appended_one_by_one_are_a_stack(tmp_path):
    for slice_YX in VOXELS:
        tifffile.imwrite(tmp_path / "appended.tif", slice_YX, append=True)
    assert np.array_equal(open_volume(tmp_path / "appended.tif").read(BOX), VOXELS[BOX])


@pytest.mark.drill
@pytest.mark.parametrize("name", ["stack.tif", "plain.tif", "volume.nii.gz", "volume.nrrd", "v2.zarr/0/.zarray"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_whatever_damaged_bytes_make_a_library_raise_names_the_volume(tmp_path, name, seed):
    path = tmp_path / name
    if not path.exists():
        write(tmp_path, name.split("/")[0])
        (tmp_path / "whole").write_bytes(path.read_bytes())
    content, rng = bytearray((tmp_path / "whole").read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, min(len(content), 600), 3):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
        assert open_volume(tmp_path / name.split("/")[0]).read(WHOLE).ndim == 3
    except VolumeError as error:
        assert name.split("/")[0] in str(error)


@pytest.mark.drill
@pytest.mark.parametrize("name", ["stack.tif", "plain.tif", "volume.nii.gz", "volume.nii", "volume.nrrd"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0.0, 0.98))
def test_a_cut_file_is_never_read_as_a_smaller_one(tmp_path, name, kept):
    path = tmp_path / name
    if not path.exists():
        write(tmp_path, name)
        path.with_suffix(".whole").write_bytes(path.read_bytes())
    whole = path.with_suffix(".whole").read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(VolumeError, match=name):
        open_volume(path).read(WHOLE)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("picture.tif", np.zeros((8, 9), np.uint8), "not a stack"),
        ("colour.tif", np.zeros((8, 9, 3), np.uint8), "grey"),
        ("colours.tif", np.zeros((4, 8, 9, 3), np.uint8), "grey"),
    ],
)
def test_images_that_are_no_volumes_are_refused(tmp_path, name, content, reason):
    tifffile.imwrite(tmp_path / name, content, photometric="rgb" if content.shape[-1] == 3 else "minisblack")
    with pytest.raises(VolumeError, match=reason):
        open_volume(tmp_path / name)


def test_unknown_formats_and_absent_paths_are_named(tmp_path):
    (tmp_path / "volume.mhd").write_text("?")
    with pytest.raises(VolumeError, match=r"volume\.mhd is of no known format; known: \.tif"):
        open_volume(tmp_path / "volume.mhd")
    with pytest.raises(VolumeError, match=r"absent\.tif: no such file"):
        open_volume(tmp_path / "absent.tif")


def test_names_and_digests(tmp_path):
    assert [stem(Path(name)) for name in ("a.b.nii.gz", "a.zarr", "12.tiff", "folder")] == ["a.b", "a", "12", "folder"]
    one, two = write(tmp_path, "v2.zarr"), tmp_path / "copy"
    two.mkdir()
    assert digest(one) == digest(write(two, "v2.zarr"))
    (two / "v2.zarr" / "0" / "0.0.0").write_bytes(b"other")
    assert digest(one) != digest(two / "v2.zarr")


def test_real_volpkg_slices_and_nifti(shared_data):
    scan = open_volume(shared_data / "scroll/educelab_testing_volpkg/Testing.volpkg/volumes/20170511164226")
    assert scan.shape == (183, 21, 300) and scan.dtype == np.uint16 and scan.spacing == (40.0, 40.0, 40.0)
    assert scan.read((slice(90, 92), slice(None), slice(5, 9))).shape == (2, 21, 4) and scan.gaps(WHOLE) == ()
    ct = open_volume(shared_data / "scroll/nnunet_ct/example_ct_sm.nii.gz")
    assert ct.shape == (30, 101, 122) and ct.read(WHOLE).min() < -1000
