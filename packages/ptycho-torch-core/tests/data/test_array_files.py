"""Arrays in files of their own that claim more than there is, or were damaged."""

import io
import os
import random
import resource
import struct

import numpy as np
import pytest
import tifffile

from ptycho_torch.data.array_files import fits_frames, read_npy, read_tiff
from ptycho_torch.data.dark import load_dark
from ptycho_torch.data.scan.frame_files import frames_of_files
from ptycho_torch.errors import DataError

CLAIMS = [((10**6, 10**6), "<u2"), ((2**62, 4), "<f8"), ((-4, -4), "<u2"), ((3, 4), "|O")]


@pytest.fixture
def little_memory():
    """Two gigabytes more than there are, so that taking what a file claims fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def claiming(path, shape, dtype):
    """A .npy file with a header and hardly anything behind it."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    path.write_bytes(stream.getvalue() + b"four")
    return path


def enlarged(path, edge):
    """A TIFF file of 16 x 16 px that claims to be larger."""
    tifffile.imwrite(path, np.ones((16, 16), np.uint16))
    content = path.read_bytes()
    for tag in (256, 257):
        field = struct.pack("<HHI", tag, 4, 1)
        assert field + struct.pack("<I", 16) in content
        content = content.replace(field + struct.pack("<I", 16), field + struct.pack("<I", edge))
    path.write_bytes(content)
    return path


@pytest.mark.rule("DATA-121")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("shape", "dtype"), CLAIMS)
def test_a_header_that_claims_terabytes_is_one_error(tmp_path, shape, dtype):
    path = claiming(tmp_path / "dark.npy", shape, dtype)
    with pytest.raises(ValueError, match=r"claims|mapped|frames of"):
        read_npy(path)
    with pytest.raises(DataError) as refused:
        load_dark(path, 16)
    assert refused.value.problems[0].name == "dark_file"
    with pytest.raises(DataError):
        frames_of_files(path)


@pytest.mark.rule("DATA-121")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("edge", [60_000, 16_000])
def test_an_image_that_claims_gigabytes_is_not_made(tmp_path, edge):
    path = enlarged(tmp_path / "frame_1.tif", edge)
    with pytest.raises(ValueError, match=r"claims|mapped|frames of"):
        read_tiff(path, fits_frames)
    with pytest.raises(DataError):
        frames_of_files(tmp_path)


@pytest.mark.rule("DATA-037")
def test_damaged_images_are_one_error_and_nothing_is_logged(tmp_path, capfd):
    path = tmp_path / "frame.tif"
    tifffile.imwrite(path, np.ones((16, 16), np.uint16))
    content, dice, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(100):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[dice.randrange(200)] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tiff(path)
        except ValueError:
            refused += 1
    assert refused > 30
    assert capfd.readouterr().err == ""


@pytest.mark.rule("DATA-123")
def test_nobody_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "dark.npy")
    with pytest.raises(DataError) as refused:
        load_dark(tmp_path / "dark.npy", 16)
    assert refused.value.problems[0].name == "dark_file"
    with pytest.raises(DataError):
        load_dark(tmp_path, 16)
