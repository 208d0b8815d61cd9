"""Bundles through the eyes of a program: save by training, load, and everything that is refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_torch.bundle import BUNDLE_NAME, load_bundle, read_manifest
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.errors import BundleError
from ptycho_torch.workflows import infer, load_inference_bundle_torch, reconstruct

READERS = [read_manifest, load_bundle, load_inference_bundle_torch]


@pytest.fixture
def bundle(bundle_dir: Path, tmp_path: Path) -> Path:
    """A bundle that a test may change."""
    (tmp_path / "model").mkdir()
    return Path(shutil.copy(bundle_dir / BUNDLE_NAME, tmp_path / "model" / BUNDLE_NAME))


def _members(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(bundle: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _with_manifest(bundle: Path, **changes: object) -> None:
    members = _members(bundle)
    manifest = {**json.loads(members["manifest.json"]), **changes}
    _write(bundle, {**members, "manifest.json": json.dumps(manifest).encode()})


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestRoundTrip:
    def test_the_loaded_model_reconstructs_what_the_trained_one_did(self, trained, bundle_dir, scan):
        models, _ = load_inference_bundle_torch(bundle_dir)
        ours = reconstruct(models["diffraction_to_obj"], scan, batch_size=8)
        theirs = reconstruct(trained[2]["models"]["diffraction_to_obj"], scan, batch_size=8)
        np.testing.assert_array_equal(ours.object, theirs.object)

    def test_the_best_weights_are_saved(self, trained):
        results = trained[2]
        best = int(np.nanargmin(results["history"]["val_loss"]))
        kept = torch.load(results["best_checkpoint"], weights_only=True)
        assert kept["epoch"] == best
        state = load_bundle(results["bundle_path"])[0].state_dict()
        assert all(torch.equal(kept["state_dict"][f"model.{name}"], state[name]) for name in state)

    def test_the_manifest_says_how_it_was_made(self, bundle_dir):
        manifest = read_manifest(bundle_dir)
        assert manifest.backend == "pytorch"
        assert {"ptycho-config", "ptycho-torch-core", "torch"} <= set(manifest.versions)
        assert manifest.configuration["training"]["nepochs"] == 3
        assert manifest.configuration["model"]["N"] == 32

    def test_no_temporary_file_is_left(self, bundle_dir):
        assert not [path for path in bundle_dir.rglob("*") if path.name.endswith(".tmp")]


class TestWhereABundleIs:
    @pytest.fixture(params=["directory", "file", "extracted"])
    def place(self, request, bundle, tmp_path):
        if request.param == "directory":
            return bundle.parent
        if request.param == "file":
            return bundle
        shutil.unpack_archive(bundle, tmp_path / "extracted")
        return tmp_path / "extracted"

    @pytest.mark.rule("BUN-011")
    @pytest.mark.parametrize("as_text", [True, False])
    def test_everywhere_a_model_path_is_taken(self, place, as_text, scan, cpu, tmp_path):
        model_path = str(place) if as_text else place
        for read in READERS:
            read(model_path)
        payload = create_inference_payload(model_path, scan, tmp_path / "out", None, cpu())
        assert infer(payload).reconstruction.object.ndim == 2

    def test_nowhere(self, tmp_path):
        for read in READERS:
            with pytest.raises(FileNotFoundError):
                read(tmp_path / "absent")
            with pytest.raises(BundleError, check=lambda error: error.names == ("wts.h5.zip",)):
                read(tmp_path)


class TestRefusal:
    @pytest.mark.parametrize("read", READERS)
    def test_foreign(self, bundle, read):
        _write(bundle, {"holiday.jpg": b"sea"})
        with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
            read(bundle)
        bundle.write_bytes(b"something else entirely")
        with pytest.raises(BundleError, check=lambda error: error.names == ("",) and error.source == bundle):
            read(bundle)

    @pytest.mark.parametrize("read", READERS)
    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
    def test_truncated(self, bundle, read, kept):
        content = bundle.read_bytes()
        bundle.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(BundleError, check=lambda error: error.names == ("",) and error.source == bundle):
            read(bundle)

    @pytest.mark.parametrize("read", READERS)
    def test_newer(self, bundle, read):
        _with_manifest(bundle, format_version=3)
        with pytest.raises(BundleError, check=lambda error: error.names == ("format_version",)):
            read(bundle)

    @pytest.mark.parametrize("read", READERS)
    def test_of_another_backend(self, bundle, read):
        _with_manifest(bundle, backend="tensorflow")
        with pytest.raises(BundleError, check=lambda error: error.names == ("backend",)):
            read(bundle)

    @pytest.mark.parametrize("name", ["weights.pt", "resolved.json"])
    def test_tampered(self, bundle, name):
        members = _members(bundle)
        members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])
        _write(bundle, members)
        for read in (load_bundle, load_inference_bundle_torch):
            with pytest.raises(BundleError, check=lambda error: error.names == (name,)):
                read(bundle)

    def test_it_is_a_value_error_that_names_file_and_problem(self, bundle):
        bundle.write_bytes(b"")
        with pytest.raises(ValueError, check=lambda error: error.names == ("",)) as caught:
            load_inference_bundle_torch(bundle)
        assert caught.value.source == bundle
        assert len(caught.value.problems) == 1

    def test_nothing_is_executed_even_if_every_checksum_fits(self, bundle, tmp_path):
        trap = tmp_path / "executed"
        for payload in (Trap(trap), {"generator.weight": Trap(trap)}):
            for dump in (torch.save, pickle.dump):
                stream = io.BytesIO()
                dump(payload, stream)
                members = {**_members(bundle), "weights.pt": stream.getvalue()}
                manifest = json.loads(members["manifest.json"])
                digest = hashlib.sha256(stream.getvalue()).hexdigest()
                manifest["checksums"]["weights.pt"] = digest
                _write(bundle, {**members, "manifest.json": json.dumps(manifest).encode()})
                with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
                    load_inference_bundle_torch(bundle)
        assert not trap.exists()
