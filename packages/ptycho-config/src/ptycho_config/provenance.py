"""Where each value of a resolved configuration came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ptycho_config.base import Config, plain, to_dict
from ptycho_config.fields import nested_fields

__all__ = ["Fact", "Provenance", "ProvenanceTable", "Resolution"]

Kind = TypeVar("Kind", bound=Config)


@dataclass(frozen=True)
class Fact:
    """Something read from the data, and where.

    Parameters
    ----------
    value : object
        The value.
    source : str
        Where it was read, such as ``"probeGuess in scan.npz"``.
    """

    value: Any
    source: str = ""


def show(value: Any) -> str:
    """Write a value the way a provenance line shows it."""
    if isinstance(value, (str, Path)):
        return str(value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else repr(value)


@dataclass(frozen=True)
class Provenance:
    """One value, the layer that stated it, and what it outranked.

    Attributes
    ----------
    field : str
        Name of the setting.
    value : object
        The value that counts.
    layer : str
        ``"overrides"``, ``"execution_config"``, ``"cli"``, ``"file"``, ``"profile"``, ``"data"`` or
        ``"default"``.
    outranked : tuple of (str, object)
        Layer and value of every lower statement, highest first.
    source : str
        More about the layer: the name of a profile, the array a fact was read from.

    Examples
    --------
    >>> print(Provenance("nepochs", 30, "cli", (("file", 20), ("default", 50))))
    nepochs = 30  [cli]  over file=20  over default=50
    """

    field: str
    value: Any
    layer: str
    outranked: tuple[tuple[str, Any], ...] = ()
    source: str = ""

    def __str__(self) -> str:
        layer = f"{self.layer}: {self.source}" if self.source else self.layer
        over = "".join(f"  over {name}={show(value)}" for name, value in self.outranked)
        return f"{self.field} = {show(self.value)}  [{layer}]{over}"


class ProvenanceTable(Mapping[str, Provenance]):
    """Provenance of every setting, by flat name or dotted address.

    Iterating gives the flat name where one section of the schema has the setting, and the dotted address
    where several have. Looking up accepts the dotted address always.
    """

    def __init__(self, items: Mapping[str, Provenance], labels: Mapping[str, str]) -> None:
        self._by_label = {labels[address]: item for address, item in items.items()}
        self._by_address = dict(items)

    def __getitem__(self, key: str) -> Provenance:
        if key in self._by_address:
            return self._by_address[key]
        return self._by_label[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_label)

    def __len__(self) -> int:
        return len(self._by_label)

    def __str__(self) -> str:
        return "\n".join(str(item) for item in self.values())


@dataclass(frozen=True)
class Resolution:
    """A resolved configuration.

    Attributes
    ----------
    configs : dict of str to Config
        One object per section of the schema; inner configurations are filled in.
    provenance : ProvenanceTable
        Origin of every value.
    overrides_applied : dict
        Every setting that differs from its default, and every setting of the execution section that has an
        effect in the job.
    notes : tuple of str
        Audit entries: older spellings, settings ignored, frames cropped.
    """

    configs: dict[str, Config]
    provenance: ProvenanceTable
    overrides_applied: dict[str, Any]
    notes: tuple[str, ...]

    def config(self, kind: type[Kind]) -> Kind:
        """The configuration object of a class.

        Raises
        ------
        KeyError
            If the schema has no section of that class.
        """
        for config in self.configs.values():
            if isinstance(config, kind):
                return config
        raise KeyError(f"no section of {list(self.configs)} is a {kind.__name__}")

    def values(self) -> dict[str, dict[str, Any]]:
        """All values as plain data by section, each setting in one section only."""
        result = {}
        for section, config in self.configs.items():
            inner = nested_fields(type(config))
            result[section] = {name: value for name, value in to_dict(config).items() if name not in inner}
        return result

    def to_dict(self) -> dict[str, Any]:
        """Values, provenance, applied overrides and notes as plain data."""
        origins = {
            name: {
                "value": plain(item.value),
                "layer": item.layer,
                "source": item.source,
                "outranked": [[layer, plain(value)] for layer, value in item.outranked],
            }
            for name, item in self.provenance.items()
        }
        return {
            "values": self.values(),
            "provenance": origins,
            "overrides_applied": plain(self.overrides_applied),
            "notes": list(self.notes),
        }
