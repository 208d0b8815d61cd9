"""Images as numbers that other programs open."""

import json

import numpy as np
import pytest
import tifffile

from ptycho_torch.errors import ShapeError
from ptycho_torch.tiff import save_tiff


def test_without_a_pixel_size_there_is_no_length(tmp_path):
    path = tmp_path / "image.tif"
    save_tiff(path, np.eye(4), quantity="phase", unit="rad", rule="a rule")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), np.eye(4, dtype=np.float32))
        assert "ResolutionUnit" not in page.tags or page.tags["ResolutionUnit"].value == 1
        assert json.loads(page.description) == {
            "quantity": "phase", "unit": "rad", "pixel_m": None, "rule": "a rule",
        }  # fmt: skip


def test_a_stack_is_refused(tmp_path):
    with pytest.raises(ShapeError):
        save_tiff(tmp_path / "image.tif", np.zeros((2, 3, 3)), quantity="phase", unit="rad")
    assert not list(tmp_path.iterdir())
