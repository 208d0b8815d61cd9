"""One format of scan files: its facts, and its module, which is loaded when a function is called."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache, partialmethod
from importlib.machinery import SourceFileLoader
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ptycho_config import OrientationConfig
from ptycho_config.errors import ConfigError, Problem

if TYPE_CHECKING:
    from ptycho_torch.control import Progress
    from ptycho_torch.data.recognition import Candidate
    from ptycho_torch.data.scan.contract import Scan
    from ptycho_torch.data.scan.header import Located, ScanHeader

__all__ = ["Format", "FormatModule"]

_FUNCTIONS = ("recognise", "header", "read", "make_example")


class FormatModule(Protocol):
    """What a module of a format holds beside its facts.

    Optional: ``write(path, scan, *, progress)``, which writes what `read` gives back exactly, complete or not
    at all; ``files_of(path)``, the files that this writes, where they are not just ``path``; and
    ``read_to_convert``, as ``read``, for files that `read` refuses for a reason that a conversion mends.
    """

    def recognise(self, candidate: Candidate) -> Located | str:
        """Where the scan is, or the reason why this is none of this format. Decides by content."""

    def header(self, located: Located) -> ScanHeader:
        """Sizes and metadata; reads no frames. Counts the frames that `read` gives out."""

    def read(
        self, located: Located, *, measurement_domain: str, N: int | None, progress: Progress | None
    ) -> Scan:
        """The scan, checked against the data contract.

        Takes ``clean`` too where it lets its caller choose what is masked and left out: the names of
        `ptycho_torch.diagnosis.table.CLEANING` to apply, for ``assemble_scan``. Takes ``position_scale``
        where its positions are scaled before they are checked, for ``assemble_scan`` too.
        """

    def make_example(self, path: Path) -> None:
        """Write `ptycho_torch.data.scan.example.example_scan` at ``path``, as other programs would."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """Facts of one format, and its module, which is loaded when a function is called.

    Attributes
    ----------
    name, help, suffixes, targets, refines
        As the module states them.
    is_writable
        Whether scans can be written in it.
    takes_parts
        Whether positions, probe and optics may be stated beside its files.
    knows_near_field
        Whether its files say that a detector is in the near field.
    is_stated
        Whether it is in a file that the user named, so that it is asked first and its word is final.
    lineage
        Names of the more general formats, the nearest first.
    origin
        Where it comes from, for a message.
    module
        Name of the module, or the file that holds it.
    problem
        Why it cannot be used; empty when it can.
    """

    name: str
    help: str = ""
    suffixes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    refines: str | None = None
    is_writable: bool = False
    takes_parts: bool = False
    knows_near_field: bool = False
    is_stated: bool = False
    lineage: tuple[str, ...] = ()
    origin: str = ""
    module: str | Path = field(default="", repr=False)
    problem: str = ""

    def load(self) -> FormatModule:
        """The module.

        Raises
        ------
        ImportError
            It, or something that it needs, cannot be imported.
        ConfigError
            It is a file of the user's own that lacks a function.
        """
        module = _run_file(self.module) if isinstance(self.module, Path) else _imported(self.module)
        missing = [name for name in _FUNCTIONS[:3] if not callable(getattr(module, name, None))]
        if missing:
            raise ConfigError(
                Problem(
                    "reader" if self.is_stated else self.name,
                    str(self.module),
                    f"functions {', '.join(_FUNCTIONS[:3])}",
                    f"{', '.join(missing)} is missing",
                )
            )
        return cast(FormatModule, module)

    def recognise(self, candidate: Candidate) -> Located | str:
        """As `FormatModule.recognise`; a format of another distribution that cannot be loaded says why."""
        if self.problem:
            return self.problem
        if self.is_stated:
            return self.load().recognise(candidate)
        try:
            module = self.load()
        except (ImportError, ConfigError) as error:
            return f"cannot be loaded ({self.origin}): {error}"
        return module.recognise(candidate)

    def header(self, located: Located) -> ScanHeader:
        """As `FormatModule.header`."""
        return self.load().header(located)

    def read(
        self,
        located: Located,
        *,
        measurement_domain: str = "auto",
        N: int | None = None,
        progress: Progress | None = None,
        clean: Collection[str] | None = None,
        orientation: OrientationConfig | None = None,
        to_convert: bool = False,
    ) -> Scan:
        """As `FormatModule.read` or its ``read_to_convert``, cleaned and turned as stated, or refused."""
        # Formats are listed by commands that answer without NumPy.
        from ptycho_torch.data.scan.orientation import oriented

        module: Any = self.load()
        read = getattr(module, "read_to_convert", module.read) if to_convert else module.read
        wanted: dict[str, Any] = {"measurement_domain": measurement_domain, "N": N, "progress": progress}
        takes = inspect.signature(read).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in takes.values())
        if clean is not None:
            if "clean" not in takes and not takes_all:
                expected = f"nothing stated: the format {self.name} always cleans"
                raise ConfigError(Problem("clean", ",".join(clean) or "off", expected))
            wanted["clean"] = clean
        scales = orientation is not None and (takes_all or "position_scale" in takes)
        if orientation is not None and scales:
            wanted["position_scale"] = orientation.position_scale
        return oriented(read(located, **wanted), orientation, is_scaled=scales)

    def write(self, path: str | PathLike[str], scan: Scan, *, progress: Progress | None = None) -> None:
        """Write a scan; complete or not at all.

        Raises
        ------
        DataError
            The scan lacks what the format needs, as its geometry for positions in metres, or its detector is
            in the near field and the format cannot say so.
        """
        from ptycho_torch.data.scan.near_field import require_far_field

        if not self.knows_near_field:
            require_far_field(scan.metadata, f"files of the format {self.name}")
        module: Any = self.load()
        module.write(Path(path), scan, progress=progress)

    def files_of(self, path: str | PathLike[str]) -> tuple[Path, ...]:
        """Files that `write` makes."""
        found = getattr(self.load(), "files_of", None)
        return (Path(path),) if found is None else tuple(found(Path(path)))


_OF_READER = "ptycho_torch_reader_"


def _imported(name: str) -> Any:
    return importlib.import_module(name)


class _Source(SourceFileLoader):
    """Runs the text that is there: bytecode, which Python keeps beside it, counts for a whole second."""

    def path_stats(self, path: Any) -> Any:
        raise OSError


@lru_cache(maxsize=8)
def _module_of(path: Path, changed_ns: int) -> Any:
    name = f"{_OF_READER}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for kind in vars(module).values():
        # Other processes cannot import the module by its name, and run the file instead.
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not _states_how(kind):
            kind.__reduce_ex__ = partialmethod(_reduced, path)  # type: ignore[assignment]
    return module


def _states_how(kind: type) -> bool:
    """Whether a class says itself how it is pickled."""
    return any("__reduce__" in vars(one) or "__reduce_ex__" in vars(one) for one in kind.__mro__[:-1])


def _reduced(thing: Any, path: Path, protocol: int) -> tuple[Any, ...]:
    return _restored, (path, type(thing).__qualname__), thing.__getstate__()


def _restored(path: Path, qualname: str) -> Any:
    kind: Any = getattr(_run_file(path), qualname)
    return kind.__new__(kind)


def _run_file(path: Path) -> Any:
    """Module of a file of the user's own, run again only when it changed."""
    return _module_of(path, path.stat().st_mtime_ns)
