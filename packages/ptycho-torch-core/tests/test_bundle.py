"""Bundles: exact, checked, and unable to run anything."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_config import ModelConfig, to_dict
from ptycho_torch.bundle import BUNDLE_NAME, find_bundle, load_bundle, read_manifest, save_bundle
from ptycho_torch.bundle import archive as bundle_module
from ptycho_torch.errors import BundleError
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate


@pytest.fixture
def bundle(tmp_path, trained):
    """A bundle that a test may change."""
    return Path(shutil.copy(trained.bundle, tmp_path / BUNDLE_NAME))


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rewrite(path, **changes):
    """Write a bundle again with other members; None leaves one out."""
    members = {**_members(path), **{name.replace("_", "."): content for name, content in changes.items()}}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)


def _change_manifest(path, change):
    manifest = json.loads(_members(path)["manifest.json"])
    change(manifest)
    _rewrite(path, manifest_json=json.dumps(manifest).encode())


def _replace_weights(path, content):
    """Put other weights in, with a checksum that matches."""
    _rewrite(path, weights_pt=content)
    digest = hashlib.sha256(content).hexdigest()
    _change_manifest(path, lambda manifest: manifest["checksums"].update({"weights.pt": digest}))


@pytest.mark.rule("BUN-006")
def test_a_round_trip_keeps_weights_and_predictions_bit_for_bit(trained, tiny_scan):
    model, _ = load_bundle(trained.output_dir)
    ours, saved = model.state_dict(), trained.model.state_dict()
    assert ours.keys() == saved.keys()
    assert all(torch.equal(ours[name], saved[name]) for name in ours)
    counts = torch.from_numpy(tiny_scan.diffraction[:4].astype(np.float32))[:, None]
    with torch.no_grad():
        assert torch.equal(model(counts), trained.model.eval()(counts))
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())


@pytest.mark.rule("BUN-003")
@pytest.mark.parametrize("n_modes", [1, 3])
def test_a_trainable_probe_and_several_modes_survive(tmp_path, n_modes):
    config = ModelConfig(N=32, n_filters_scale=1, probe_mask=True, architecture="cnn")
    probe = torch.randn(n_modes, 32, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    measured = torch.ones(32, 32, dtype=torch.bool)
    measured[3, 4] = False
    model = build_patch_model(
        config, calibrate(probe, 5e3), measured=measured, trainable_probe=True, trainable_scale=False
    )
    values = {name: getattr(config, name) for name in ("N", "n_filters_scale", "probe_mask", "architecture")}
    save_bundle(tmp_path / "any.zip", model, {"model": values}, {})
    loaded, manifest = load_bundle(tmp_path / "any.zip")
    assert manifest.scans[0]["n_modes"] == n_modes
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.rule("PHY-038")
@pytest.mark.parametrize("head", ["amplitude_phase", "real_imaginary"])
def test_the_head_is_stored(tmp_path, tiny_scan, head):
    config = ModelConfig(N=32, n_filters_scale=1, object_head=head)
    model = build_patch_model(config, calibrate(torch.from_numpy(tiny_scan.probe), 1e5))
    with torch.no_grad():
        for number, parameter in enumerate(model.generator.parameters()):
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    save_bundle(tmp_path / "any.zip", model, {"model": to_dict(config)}, {})
    counts = torch.from_numpy(tiny_scan.diffraction[:2].astype(np.float32))[:, None]
    loaded, _ = load_bundle(tmp_path / "any.zip")
    with torch.no_grad():
        assert torch.equal(loaded(counts), model(counts))


@pytest.mark.rule("BUN-001", "BUN-002", "BUN-004")
def test_the_manifest_says_what_is_inside(trained):
    manifest = read_manifest(trained.bundle)
    assert manifest.backend == "pytorch"
    assert {"ptycho-config", "ptycho-torch-core", "torch"} <= set(manifest.versions)
    assert manifest.configuration["model"]["N"] == 32
    assert manifest.configuration["training"]["batch_size"] == 8
    assert manifest.scans[0]["mean_counts"] == pytest.approx(1e5, rel=0.05)
    assert manifest.scans[0]["intensity_scale"] == pytest.approx(manifest.scans[0]["mean_counts"] / 256)
    assert set(manifest.checksums) == {"weights.pt", "resolved.json"}
    members = _members(trained.bundle)
    assert set(members) == {"manifest.json", "weights.pt", "resolved.json"}
    assert json.loads(members["resolved.json"])["values"]["training"]["nepochs"] == 3
    for name, digest in manifest.checksums.items():
        assert hashlib.sha256(members[name]).hexdigest() == digest


@pytest.mark.rule("BUN-009")
def test_the_manifest_is_read_without_torch(trained):
    source = (
        "import sys; from ptycho_torch.bundle import read_manifest; "
        f"assert read_manifest({str(trained.output_dir)!r}).backend == 'pytorch'; "
        "sys.exit(int('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.rule("BUN-011")
def test_a_directory_and_a_file_name_the_same_bundle(trained, tmp_path):
    assert find_bundle(trained.output_dir) == find_bundle(trained.bundle) == trained.bundle
    with pytest.raises(FileNotFoundError, match="model_path"):
        find_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, check=lambda error: error.names == (BUNDLE_NAME,)):
        find_bundle(tmp_path)


@pytest.mark.rule("BUN-008")
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_bundle_is_refused(bundle, kept):
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(kept * len(content))])
    for read in (read_manifest, load_bundle):
        with pytest.raises(BundleError, check=lambda error: error.names == ("",) and error.source == bundle):
            read(bundle)


def test_damaged_bytes_are_found(bundle):
    content = bytearray(bundle.read_bytes())
    for start in range(2000, len(content) - 2000, 1000):
        content[start : start + 20] = bytes(20)
    bundle.write_bytes(bytes(content))
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


def test_a_foreign_archive_is_refused(tmp_path):
    path = tmp_path / BUNDLE_NAME
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"sea")
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        load_bundle(tmp_path)


@pytest.mark.rule("BUN-008")
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda m: m.update(backend="tensorflow"), "backend"),
        (lambda m: m.update(format="other"), "manifest.json"),
        (lambda m: m.update(format_version=3), "format_version"),
        (lambda m: m.pop("configuration"), "manifest.json"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(bundle, change, name):
    _change_manifest(bundle, change)
    for read in (read_manifest, load_bundle):
        with pytest.raises(BundleError, check=lambda error: error.names == (name,)):
            read(bundle)


@pytest.mark.parametrize("weights", ["diffraction_to_obj/model.pth", "diffraction_to_obj/saved_model.pb"])
def test_a_bundle_of_ptychopinn_is_called_one(tmp_path, weights):
    path = tmp_path / BUNDLE_NAME
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("manifest.dill", weights, "diffraction_to_obj/params.dill"):
            archive.writestr(name, b"pickled")
    for read in (read_manifest, load_bundle):
        with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.dill",)):
            read(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_a_manifest_that_is_no_object_is_refused(bundle, content):
    _rewrite(bundle, manifest_json=content)
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["configuration"]["model"].update(architecture="of_the_future"),
        lambda m: m["configuration"]["model"].update(N=33),
        lambda m: m["configuration"]["model"].update(unheard_of=1),
        lambda m: m["configuration"].pop("model"),
        lambda m: m["scans"][0].update(n_modes=0),
        lambda m: m["scans"][0].update(n_modes="many"),
        lambda m: m["scans"][0].pop("n_modes"),
    ],
)
def test_settings_that_build_no_model_are_a_bundle_error(bundle, change):
    _change_manifest(bundle, change)
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        load_bundle(bundle)


def test_settings_that_do_not_fit_the_weights_are_a_bundle_error(bundle):
    _change_manifest(bundle, lambda manifest: manifest["configuration"]["model"].update(n_filters_scale=2))
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


@pytest.mark.rule("BUN-008")
def test_changed_weights_are_found(bundle):
    weights = bytearray(_members(bundle)["weights.pt"])
    weights[len(weights) // 2] ^= 1
    _rewrite(bundle, weights_pt=bytes(weights))
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


def test_missing_weights_are_found(bundle):
    _rewrite(bundle, weights_pt=None)
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


class _Touch:
    """Creates a file when it is unpickled by a loader that calls what a pickle names."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _pickled(value):
    return pickle.dumps(value, protocol=2)


@pytest.mark.rule("BUN-003")
@pytest.mark.parametrize("dump", [_pickled, _saved], ids=["bare pickle", "torch.save"])
def test_a_pickle_in_place_of_weights_is_never_executed(bundle, tmp_path, dump):
    trap = tmp_path / "executed"
    content = dump({"generator.weight": _Touch(trap)})
    # The trap works where code is allowed to run.
    if dump is _pickled:
        pickle.loads(content)
    else:
        torch.load(io.BytesIO(content), weights_only=False)
    assert trap.exists()
    trap.unlink()
    _replace_weights(bundle, content)
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)
    assert not trap.exists()


@pytest.mark.parametrize("value", [[1, 2], {"generator": "text"}, {}])
def test_weights_that_are_no_state_are_refused(bundle, value):
    _replace_weights(bundle, _saved(value))
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


@pytest.mark.rule("BUN-012")
@pytest.mark.parametrize("name", ["../escaped.txt", "/escaped.txt", "..\\escaped.txt", "C:/escaped.txt"])
def test_names_that_leave_the_archive_are_refused_and_nothing_is_written(bundle, tmp_path, name):
    before = set(tmp_path.parent.rglob("*"))
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr(name, b"out")
    for read in (read_manifest, load_bundle):
        with pytest.raises(BundleError, check=lambda error: error.names == (name,)):
            read(bundle)
    assert set(tmp_path.parent.rglob("*")) == before


@pytest.mark.rule("BUN-012")
def test_a_member_that_is_there_twice_is_refused(bundle):
    with zipfile.ZipFile(bundle, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("weights.pt", b"which one")
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


@pytest.mark.rule("BUN-011")
def test_the_directory_of_an_extracted_bundle_is_a_bundle(bundle, tmp_path):
    folder = tmp_path / "extracted"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    assert find_bundle(folder) == folder
    (ours, mine), (theirs, other) = load_bundle(folder), load_bundle(bundle)
    assert mine == other == read_manifest(folder)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    (folder / "resolved.json").write_text("{}")
    with pytest.raises(BundleError, check=lambda error: error.names == ("resolved.json",)):
        load_bundle(folder)
    (folder / "weights.pt").unlink()
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(folder)


@pytest.mark.rule("BUN-012")
def test_a_member_that_unpacks_to_absurd_size_is_not_unpacked(bundle):
    # Blanks behind it would be no fault of a manifest that is read.
    manifest = _members(bundle)["manifest.json"] + b" " * 65 * 2**20
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        read_manifest(bundle)


@pytest.mark.rule("BUN-012")
def test_weights_that_unpack_to_far_more_than_they_are_stored_in_are_not_unpacked(bundle, monkeypatch):
    members = _members(bundle)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", members["manifest.json"])
        archive.writestr("weights.pt", bytes(66 * 2**20))
    unpacked, read = [], zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile,
        "read",
        lambda self, member: (unpacked.append(member.filename), read(self, member))[1],
    )
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)
    assert unpacked == ["manifest.json"]


@pytest.mark.rule("BUN-012")
def test_records_of_tensors_that_are_packed_again_are_refused(bundle):
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_members(bundle)["weights.pt"])) as plain,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    _replace_weights(bundle, stream.getvalue())
    with pytest.raises(BundleError, check=lambda error: error.names == ("weights.pt",)):
        load_bundle(bundle)


@pytest.mark.rule("BUN-012")
@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["configuration"]["model"].update(N=2**20),
        lambda m: m["configuration"]["model"].update(n_filters_scale=10**5),
        lambda m: m["scans"][0].update(n_modes=10**9),
    ],
)
def test_settings_of_a_model_that_the_weights_cannot_hold_build_nothing(bundle, change):
    _change_manifest(bundle, change)
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        load_bundle(bundle)


@pytest.mark.rule("BUN-010")
def test_a_write_that_fails_keeps_the_old_bundle(bundle, trained, monkeypatch):
    before = bundle.read_bytes()

    def fail(*args, **keywords):
        raise OSError("disk full")

    monkeypatch.setattr(bundle_module.zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(bundle, trained.model, {"model": {}}, {})
    assert bundle.read_bytes() == before
    assert [path.name for path in bundle.parent.iterdir()] == [BUNDLE_NAME]


def test_loading_is_silent(bundle):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_bundle(bundle)


def test_a_changed_configuration_is_noticed(bundle):
    _rewrite(bundle, resolved_json=b"{}")
    with pytest.raises(BundleError, check=lambda error: error.names == ("resolved.json",)):
        load_bundle(bundle)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, trained):
    model, manifest = load_bundle(trained.output_dir)
    name, value = next(iter(model.named_parameters()))
    value.data.view(-1)[0] = float("nan")
    with pytest.raises(BundleError, check=lambda error: error.names == (name,)):
        save_bundle(tmp_path / BUNDLE_NAME, model, manifest.configuration, {})
    assert list(tmp_path.iterdir()) == []
