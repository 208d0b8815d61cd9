"""What importing the package costs and promises."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata, util
from importlib.resources import files

import pytest

import ptycho_torch


def _run(source):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_that_of_the_distribution():
    assert ptycho_torch.__version__ == metadata.version("ptycho-torch-core")
    assert ptycho_torch.__all__ == ["__version__"]


def test_types_are_shipped():
    assert files("ptycho_torch").joinpath("py.typed").is_file()


@pytest.mark.rule("PKG-003")
@pytest.mark.parametrize(
    ("module", "left_out"),
    [
        ("ptycho_torch", "torch lightning scipy matplotlib skimage numpy tensorboard"),
        ("ptycho_torch.config_factory", "torch lightning scipy matplotlib skimage"),
        ("ptycho_torch.bundle", "torch lightning scipy matplotlib skimage"),
        ("ptycho_torch.data", "torch lightning scipy matplotlib skimage"),
        ("ptycho_torch.models", "lightning scipy matplotlib skimage"),
    ],
)
def test_an_import_leaves_out_what_it_does_not_need(module, left_out):
    found = _run(f"import sys, {module}; print([n for n in {left_out.split()!r} if n in sys.modules])")
    assert found.strip() == "[]"


def test_the_import_is_quick():
    # The bound is on what comes on top of torch; the best of three runs leaves other processes out.
    source = "import time; t = time.perf_counter(); import ptycho_torch; print(time.perf_counter() - t)"
    assert min(float(_run(source)) for _ in range(3)) < 0.3


@pytest.mark.rule("POLICY-001")
def test_a_missing_torch_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name, package=None: None)
    with pytest.raises(RuntimeError, match=r"POLICY-001.*not installed.*pip install 'torch>=2\.2'"):
        importlib.reload(ptycho_torch)


@pytest.mark.rule("POLICY-001")
@pytest.mark.parametrize("found", ["2.1.2+cpu", "1.13.1", "0.4.0"])
def test_an_old_torch_is_refused(monkeypatch, found):
    actual = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: found if name == "torch" else actual(name))
    with pytest.raises(RuntimeError, match=rf"2\.2 or newer, found {found.replace('+', '.')}"):
        importlib.reload(ptycho_torch)


@pytest.mark.parametrize("found", ["2.2.0", "2.13.0+cu128", "3.0.0a0+git", "10.0", "unknown"])
def test_a_recent_torch_is_taken(monkeypatch, found):
    actual = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: found if name == "torch" else actual(name))
    importlib.reload(ptycho_torch)


def test_a_torch_without_metadata_is_taken(monkeypatch):
    actual = metadata.version

    def version(name):
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return actual(name)

    monkeypatch.setattr(metadata, "version", version)
    importlib.reload(ptycho_torch)


def test_without_torch_the_import_fails_in_a_fresh_interpreter():
    # An entry of None is how the import system itself marks a module that is not there.
    source = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "try:\n"
        "    import ptycho_torch.data.formats.npz\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    assert "POLICY-001" in _run(source)
