"""Sources of frames and positions of a live scan: one file each in the folder ``sources``.

A source is named by an address, ``NAME:REST``: ``zmq:tcp://detector:5555``, ``csv:positions.csv``. Its module
states facts as plain literals at the top, so that a help text can list them without loading anything:

``NAME``
    What stands before the first colon of an address; lower case.
``HELP``
    One line that says what it reads.
``FORM``
    The form of an address, such as ``zmq:tcp://HOST:PORT``.
``GIVES``
    ``"frames"``, ``"positions"`` or both: what may be asked of it.
``EXTRA`` (optional)
    Extra of this distribution that it needs.
``MODULES`` (optional)
    What that extra installs, by import name; without it the address is refused before anything is opened.
``TEES`` (optional)
    True where every message can be handed on unchanged to another receiver.

and holds one function::

    def connect(rest: str, *, gives: str, tee: str | None) -> Source

which opens the address, or raises `ptycho_config.ConfigError` by `refused_address` where it makes no sense.
It does not wait for the other side, which may appear later. ``gives`` is what the source was asked for.

What it returns is a `Source`. All its calls come from one thread, which hands each message on before it asks
for the next ones: while what came is not taken, nothing is received, and the sender waits where its protocol
can. Whatever is wrong with a message becomes a `ptycho_torch.live.messages.Refused`; a source raises
`OSError` or `DataError` only where nothing more can ever come from it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ptycho_config.errors import ConfigError, Problem, suggest
from ptycho_torch.data.format_facts import stated_facts

if TYPE_CHECKING:
    from ptycho_torch.live.messages import Message

__all__ = ["Kind", "Source", "SourceKind", "open_source", "path_read", "refused_address", "sources"]

Kind = Literal["frames", "positions"]

_FOLDER = Path(__file__).with_name("sources")
_PACKAGE = "ptycho_torch.live.sources"
_REQUIRED = ("NAME", "HELP", "FORM", "GIVES")
_OPTIONS = re.compile(r"(,[a-z]+=[^,]*)+$")
_FACTS = (*_REQUIRED, "EXTRA", "MODULES", "TEES")


class Source(Protocol):
    """An open source.

    Attributes
    ----------
    waits_for
        What keeps it from giving anything, in words, such as ``"nobody receives at tcp://..."``; empty where
        it simply has not heard anything.
    """

    waits_for: str

    def receive(self, timeout_s: float) -> Sequence[Message]:
        """What has come, after waiting at most ``timeout_s`` for the first of it; empty: nothing."""

    def close(self) -> None:
        """Let go of files and sockets; again: nothing."""


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """Facts of one kind of source, as its module states them."""

    name: str
    help: str
    form: str
    gives: tuple[str, ...]
    extra: str = ""
    modules: tuple[str, ...] = ()
    tees: bool = False
    module: str = field(default="", repr=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """What has to be installed before it can be used, by import name."""
        return tuple(name for name in self.modules if find_spec(name) is None)


def _kind_of(path: Path) -> SourceKind:
    stated = stated_facts(path.read_text(encoding="utf-8"), _REQUIRED, _FACTS)
    return SourceKind(
        name=stated["NAME"],
        help=stated["HELP"],
        form=stated["FORM"],
        gives=tuple(stated["GIVES"]),
        extra=stated.get("EXTRA", ""),
        modules=tuple(stated.get("MODULES", ())),
        tees=bool(stated.get("TEES", False)),
        module=f"{_PACKAGE}.{path.stem}",
    )


@lru_cache(maxsize=1)
def sources() -> tuple[SourceKind, ...]:
    """Every kind of source, by name; no module of one is loaded."""
    paths = (path for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return tuple(sorted(map(_kind_of, paths), key=lambda kind: kind.name))


def refused_address(gives: str, address: str, expected: str, hint: str = "") -> ConfigError:
    """Error about an address; ``gives`` is the setting that holds it, ``frames`` or ``positions``."""
    return ConfigError(Problem(gives, address, expected, hint))


def path_read(address: str | None) -> str | None:
    """File or folder that a source reads, as its address names it; None where it reads none."""
    name, _, rest = (address or "").partition(":")
    form = next((kind.form for kind in sources() if kind.name == name), "")
    return _OPTIONS.sub("", rest) if rest and form.startswith((f"{name}:FILE", f"{name}:FOLDER")) else None


def open_source(address: str, gives: Kind, *, tee: str | None = None) -> Source:
    """Open what an address names.

    Parameters
    ----------
    address
        ``NAME:REST``, see `sources`.
    gives
        What is asked of it.
    tee
        ``tcp://HOST:PORT`` at which every message is handed on to another receiver; None: nowhere.

    Raises
    ------
    ConfigError
        No source has that name, it does not give that or cannot hand on, an extra is not installed, or the
        rest of the address makes no sense.
    """
    name, colon, rest = address.partition(":")
    usable = {kind.name: kind for kind in sources() if gives in kind.gives}
    kind = usable.get(name)
    if kind is None or not colon or not rest:
        forms = ", ".join(kind.form for kind in usable.values())
        hint = suggest(name, list(usable)) or ""
        raise refused_address(gives, address, f"an address such as {forms}", hint)
    if tee is not None and not kind.tees:
        names = ", ".join(kind.name for kind in sources() if kind.tees)
        raise ConfigError(Problem("tee", tee, f"frames from {names}, which can be handed on", address))
    if kind.missing:
        hint = f"pip install 'ptycho-torch-core[{kind.extra}]'"
        needs = f"a source that is installed; {kind.name} needs {', '.join(kind.missing)}"
        raise refused_address(gives, address, needs, hint)
    module: Any = importlib.import_module(kind.module)
    opened: Source = module.connect(rest, gives=gives, tee=tee)
    return opened
