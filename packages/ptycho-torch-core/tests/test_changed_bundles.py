"""Bundles whose members somebody changed: one refusal in one line, before anything large is read."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from ptycho_torch.bundle import BUNDLE_NAME, load_bundle, read_manifest, save_bundle
from ptycho_torch.bundle.manifest import LARGEST_TEXT
from ptycho_torch.errors import BundleError


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


def _saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.rule("BUN-012")
def test_a_manifest_that_takes_gigabytes_is_not_unpacked_unless_the_limit_is_raised(bundle, tmp_path):
    _change_manifest(bundle, lambda manifest: manifest["record"].update(long=[[]] * (LARGEST_TEXT // 4)))
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    for path in (bundle, folder):
        for read in (read_manifest, load_bundle):
            with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
                read(path)
    assert len(read_manifest(bundle, largest_text=2 * LARGEST_TEXT).record["long"]) == LARGEST_TEXT // 4


def test_a_bundle_that_nobody_could_read_is_not_written(trained, tmp_path):
    with pytest.raises(BundleError, check=lambda error: error.names == ("manifest.json",)):
        save_bundle(
            tmp_path / BUNDLE_NAME,
            load_bundle(trained.bundle)[0],
            {"model": {}},
            {},
            {"long": "x" * LARGEST_TEXT},
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop(next(iter(state))),
        lambda state: state.update(strange=torch.zeros(2)),
        lambda state: state.update(dict.fromkeys(list(state)[:1], torch.zeros(1, 2, 3))),
        lambda state: state.update({7: torch.zeros(2)}),
        lambda state: state.update({name: value[:0] for name, value in state.items() if value.ndim}),
        lambda state: state.update({name: 1j * value for name, value in state.items()}),
        lambda state: state.update({name: value.to_sparse() for name, value in state.items() if value.ndim}),
    ],
)
def test_weights_that_were_changed_are_refused_in_one_line(bundle, change):
    state = torch.load(io.BytesIO(_members(bundle)["weights.pt"]))
    change(state)
    _replace_weights(bundle, _saved(state))
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    [problem] = caught.value.problems
    assert "\n" not in problem
    assert len(problem) < 300


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}.", b"PK\x05\x06" + bytes(18)])
def test_weights_that_are_no_archive_are_refused_in_one_line(bundle, content):
    _replace_weights(bundle, content)
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    [problem] = caught.value.problems
    assert "\n" not in problem
    assert "weights_only" not in problem


@pytest.mark.parametrize("value", ["many", None, [], {}, 0, -1, float("nan"), float("inf"), True])
@pytest.mark.parametrize("name", ["nphotons", "batch_size"])
def test_training_settings_that_are_no_numbers_are_a_bundle_error(bundle, name, value):
    _change_manifest(bundle, lambda manifest: manifest["configuration"]["training"].update({name: value}))
    with pytest.raises(BundleError, check=lambda error: error.names == (name,)):
        read_manifest(bundle)


def _places(data, *before):
    """Paths of all values in nested dictionaries and lists."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*before, key)
        yield from _places(value, *before, key)


def _put(data, place, value):
    for key in place[:-1]:
        data = data[key]
    data[place[-1]] = value


def test_a_manifest_with_any_value_changed_is_used_or_refused_in_one_line(bundle):
    """Nothing but a `BundleError` comes out, whatever stands in a place."""
    original = json.loads(_members(bundle)["manifest.json"])
    assert len(list(_places(original))) > 30
    odd = ["text", None, -1, 1e308, 10**30, [], {}, [[1]]]
    for number, place in enumerate(_places(original)):
        # Every value at every place would take minutes.
        for value in (odd[number % len(odd)], odd[(3 * number + 1) % len(odd)]):
            _change_manifest(bundle, lambda manifest, p=place, v=value: _put(manifest, p, v))
            problems: tuple[str, ...] = ()
            try:
                load_bundle(bundle)
            except BundleError as error:
                problems = error.problems
            assert not any("\n" in problem or len(problem) > 600 for problem in problems), place
            _rewrite(bundle, manifest_json=json.dumps(original).encode())
