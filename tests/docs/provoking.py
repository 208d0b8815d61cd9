"""Ways to make the program complain, and to hear everything that it says."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = ["Bench", "Heard", "rows", "sections"]

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


@cache
def _tables() -> dict[str, tuple[str, ...]]:
    parts = re.split(r"^## (.+)$", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    tables = dict(zip(parts[::2], parts[1::2], strict=True))
    return {name: tuple(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) for name, text in tables.items()}


def sections() -> list[str]:
    """Titles of the tables of the page."""
    return [name for name, messages in _tables().items() if messages]


def rows(section: str) -> list[str]:
    """Messages of one table, in the order of the page."""
    return list(_tables()[section])


@dataclass
class Heard:
    """What came of a provocation: everything that was said, the exception or the exit code."""

    text: str = ""
    error: BaseException | None = None
    code: int | None = None

    def says(self, message: str) -> bool:
        """Whether the parts of a message of the page, which ``…`` sets apart, were said in this order."""
        parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
        return re.search(".*?".join(parts), self.text, re.DOTALL) is not None


@dataclass
class Bench:
    """A directory with a sound scan `scan.npz` of 32 px and a model in `run`, to break one thing at a time.

    Attributes
    ----------
    folder
        The working directory.
    patch
        Replaces what a machine has.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    read_text: Callable[[], str]
    heard: Heard = field(default_factory=Heard)

    def cli(self, line: str) -> None:
        """Run a command line in this process."""
        from ptycho_torch_cli.__main__ import main

        program, *words = shlex.split(line)
        assert program == "ptycho-torch"
        self.heard.code = main(words)

    def train(self, flags: str = "", scan: str = "scan.npz") -> None:
        """Train on the CPU for an epoch; most provocations are refused long before."""
        self.cli(
            f"ptycho-torch train --train-data-file {scan} --output-dir out --quiet --accelerator cpu "
            f"--nepochs 1 {flags}"
        )

    def infer(self, flags: str = "", scan: str = "scan.npz", model: str = "run") -> None:
        """Reconstruct on the CPU."""
        self.cli(
            f"ptycho-torch infer --model-path {model} --test-data {scan} --output-dir out --accelerator cpu "
            f"--quiet {flags}"
        )

    def inspect(self, scan: str, clean: tuple[str, ...] | None = None) -> None:
        """Let a scan be read; ``clean`` names what may be masked and left out."""
        from ptycho_torch.data.opening import open_scan

        open_scan(self.folder / scan, clean=clean)

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the sound scan."""
        with np.load(self.folder / "scan.npz") as archive:
            return {name: archive[name] for name in archive.files}

    def edited(self, **changes: Any) -> str:
        """Write the scan as `edited.npz` with arrays replaced, or left out where None."""
        arrays = {name: value for name, value in {**self.arrays(), **changes}.items() if value is not None}
        np.savez(self.folder / "edited.npz", **arrays)
        return "edited.npz"

    def read_edited(self, *, as_it_is: bool = False, **changes: Any) -> None:
        """Read the scan with arrays replaced."""
        self.inspect(self.edited(**changes), clean=() if as_it_is else None)

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file, and the folder it lies in."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def config(self, text: str, ending: str = ".yaml") -> str:
        """Write a configuration file and return the flag that names it."""
        return f"--config {self.write('settings' + ending, text)}"

    def pair(self, edit: Callable[[Any, Any], None] | None = None) -> Path:
        """Write the scan as diffraction.h5 and product.h5, then edit the two files."""
        from ptycho_torch.data.convert import convert

        optics = {
            "photon_energy_eV": 8000.0, "detector_object_distance_m": 2.0,
            "detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6,
        }  # fmt: skip
        convert(self.folder / "scan.npz", self.folder / "pair", metadata=optics)
        if edit is not None:
            import h5py

            files = [
                h5py.File(self.folder / "pair" / f"{name}.h5", "r+") for name in ("diffraction", "product")
            ]
            with files[0] as diffraction, files[1] as product:
                edit(diffraction, product)
        return self.folder / "pair"

    def bundle(
        self, members: dict[str, bytes] | None = None, manifest: Callable[[dict], Any] | None = None
    ) -> None:
        """Write the bundle of `run` again with members or entries of its manifest replaced."""
        path = self.folder / "run" / "wts.h5.zip"
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        if manifest is not None:
            entries = json.loads(content["manifest.json"])
            manifest(entries)
            content["manifest.json"] = json.dumps(entries).encode()
        content.update(members or {})
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)

    def provoke(self, act: str | Callable[[Bench], object]) -> Heard:
        """Do what goes wrong and return what was said: exceptions, warnings, log lines, output."""
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("ptycho_torch")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    if isinstance(act, str):
                        self.cli(act)
                    else:
                        act(self)
                except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
                    self.heard.error = error
                    lines.append(str(error))
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        lines += [str(item.message) for item in warned]
        self.heard.text = "\n".join([*lines, self.read_text()])
        return self.heard

    def take(self, workshop: Path) -> None:
        """Copy the scan and the model here."""
        shutil.copy(workshop / "scan.npz", self.folder)
        shutil.copytree(workshop / "run", self.folder / "run")
