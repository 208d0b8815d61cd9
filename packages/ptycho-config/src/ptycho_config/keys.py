"""Names under which a setting can be given, and how they are told apart.

A key may be flat (``nepochs``), dotted (``training.nepochs``), inside a mapping per section
(``{"training": {"nepochs": 30}}``) or one of a few older spellings (``max_epochs``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ptycho_config.base import Config, stated_fields
from ptycho_config.coerce import unwrap_scalar
from ptycho_config.errors import Problem, suggest
from ptycho_config.execution import PyTorchExecutionConfig
from ptycho_config.fields import FieldSpec, field_specs
from ptycho_config.inference import InferenceConfig
from ptycho_config.live import LiveConfig
from ptycho_config.model import ModelConfig
from ptycho_config.orientation import OrientationConfig
from ptycho_config.parts import PartsConfig
from ptycho_config.refine import RefineConfig, RefineDataConfig
from ptycho_config.training import TrainingConfig
from ptycho_config.tune import TuneConfig

__all__ = [
    "JOBS",
    "LEGACY_SPELLINGS",
    "SECTIONS",
    "Entry",
    "KeyTable",
    "LegacySpelling",
    "schema_of_job",
]

SECTIONS: Mapping[str, type[Config]] = MappingProxyType(
    {
        "model": ModelConfig,
        "training": TrainingConfig,
        "inference": InferenceConfig,
        "orientation": OrientationConfig,
        "parts": PartsConfig,
        "refine_data": RefineDataConfig,
        "live": LiveConfig,
        "refine": RefineConfig,
        "tune": TuneConfig,
        "execution": PyTorchExecutionConfig,
    }
)
"""Every section a configuration file may have, with its class."""

JOBS = ("train", "infer", "refine", "live", "tune")
"""Jobs that are configured, by the names that settings state."""


@functools.cache
def schema_of_job(job: str) -> Mapping[str, type[Config]]:
    """Sections with a setting that has an effect in a job.

    Parameters
    ----------
    job : str
        One of :data:`JOBS`.

    Returns
    -------
    mapping of str to type
        Section -> configuration class, in the order of :data:`SECTIONS`.

    Raises
    ------
    KeyError
        For another name, which is a mistake of the caller's code.

    Examples
    --------
    >>> list(schema_of_job("refine"))
    ['orientation', 'parts', 'refine_data', 'refine', 'execution']
    """
    if job not in JOBS:
        raise KeyError(f"no job is called {job!r}; there are {', '.join(JOBS)}")
    return MappingProxyType(
        {
            section: cls
            for section, cls in SECTIONS.items()
            if any(job in spec.jobs for spec in field_specs(cls))
        }
    )


def _same(value: Any) -> Any:
    return value


def _mode(value: Any) -> Any:
    return (
        {"Unsupervised": "pinn", "Supervised": "supervised"}.get(value, value)
        if isinstance(value, str)
        else value
    )


def _square_grid(value: Any) -> Any:
    items = [part.strip() for part in value.strip("()[] ").split(",")] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        return value
    sides = [
        int(item) if isinstance(item, str) and item.isdecimal() else unwrap_scalar(item) for item in items
    ]
    return sides[0] if len(sides) in (1, 2) and len(set(map(repr, sides))) == 1 else value


@dataclass(frozen=True)
class LegacySpelling:
    """An older name of a setting.

    Parameters
    ----------
    field : str
        The name it has now.
    convert : callable
        Turns a value in the older form into the form of today; passes anything else through.
    """

    field: str
    convert: Callable[[Any], Any] = _same


LEGACY_SPELLINGS: Mapping[str, LegacySpelling] = MappingProxyType(
    {
        "max_epochs": LegacySpelling("nepochs"),
        "K": LegacySpelling("neighbor_count"),
        "mode": LegacySpelling("model_type", _mode),
        "n_images": LegacySpelling("n_groups"),
        "grid_size": LegacySpelling("gridsize", _square_grid),
        "n_devices": LegacySpelling("devices"),
        "accumulate_grad_batches": LegacySpelling("accum_steps"),
    }
)
"""Older and other spellings that every layer accepts, and that the result records."""


@dataclass(frozen=True)
class Entry:
    """One value of one layer, under the address of its setting.

    Attributes
    ----------
    address : str
        ``"section.field"``.
    value : object
        In the form of today, unchecked.
    key : str
        The key as it was written.
    legacy : str
        The older spelling that was used, or an empty string.
    """

    address: str
    value: Any
    key: str
    legacy: str = ""


class KeyTable:
    """The settings of the sections a command uses, and all the names they answer to.

    Parameters
    ----------
    schema : mapping of str to type
        Section -> configuration class, for the sections in use.
    """

    def __init__(self, schema: Mapping[str, type[Config]]) -> None:
        self.schema = dict(schema)
        self.everything: dict[str, type[Config]] = {**SECTIONS, **self.schema}
        self.specs: dict[str, FieldSpec] = {
            f"{section}.{spec.name}": spec
            for section, cls in self.schema.items()
            for spec in field_specs(cls)
        }
        self._homes: dict[str, list[str]] = {}
        for section, cls in self.everything.items():
            for spec in field_specs(cls):
                self._homes.setdefault(spec.name, []).append(section)

    def label(self, address: str) -> str:
        """Shortest name that means one setting of the schema: flat when no other section has it."""
        name = address.partition(".")[2]
        return name if sum(other.partition(".")[2] == name for other in self.specs) == 1 else address

    def addresses(self, key: str) -> list[str]:
        """All settings of the schema that a flat or dotted key means."""
        if key in self.specs:
            return [key]
        return [f"{section}.{key}" for section in self._homes.get(key, ()) if section in self.schema]

    def known_keys(self) -> list[str]:
        """Every key that could have been meant, for suggestions."""
        return [*self._homes, *LEGACY_SPELLINGS, *self.everything]

    def read(
        self, layer: Mapping[str, Any], *, name: str, lenient: bool, problems: list[Problem], notes: list[str]
    ) -> list[Entry]:
        """Translate the keys of one layer into addresses.

        Parameters
        ----------
        layer : mapping
            Flat, dotted or nested; the mapping of a section may also be a configuration object, of which
            the stated settings count.
        name : str
            Name of the layer, for messages.
        lenient : bool
            Whether settings of sections outside the schema are ignored with a note instead of refused.
        problems, notes : list
            Unknown keys and remarks are appended here.

        Returns
        -------
        list of Entry
        """
        entries: list[Entry] = []
        for section, key, value in _walk(layer, self.everything):
            written = f"{section}.{key}" if section else str(key)
            if not isinstance(key, str):
                problems.append(
                    Problem(repr(key), value, "the name of a setting as text", f"given by {name}")
                )
                continue
            legacy = LEGACY_SPELLINGS.get(key) if key not in self._homes else None
            field = legacy.field if legacy else key
            moved = field in getattr(self.everything.get(section), "moved", {})
            homes = [home for home in self._homes.get(field, ()) if moved or section in ("", home)]
            if not homes:
                problems.append(self._unknown(section, written, value, name))
                continue
            used = [home for home in homes if home in self.schema]
            if not used and not lenient:
                where = " or ".join(homes)
                expected = f"a setting of {', '.join(self.schema)}"
                problems.append(
                    Problem(written, value, expected, f"it belongs to {where}, which has no effect here")
                )
            elif not used:
                where = " and ".join(homes)
                notes.append(f"{name}: {written} belongs to {where}, which has no effect here; ignored")
            converted = legacy.convert(value) if legacy else value
            older = key if legacy else written if moved else ""
            entries += [Entry(f"{home}.{field}", converted, written, older) for home in used]
        return entries

    def _unknown(self, section: str, written: str, value: Any, name: str) -> Problem:
        if written in self.everything:
            return Problem(
                written, value, f"settings by name, such as {written}: {{...}}", f"given by {name}"
            )
        if section and section in self.everything:
            names = [spec.name for spec in field_specs(self.everything[section])]
            names += [old for old, now in LEGACY_SPELLINGS.items() if now.field in names]
            hint = suggest(written.partition(".")[2], names)
            return Problem(written, value, f"a setting of {section}", hint or f"given by {name}")
        if section or isinstance(value, Mapping):
            word = section or written
            expected = f"one of the sections {', '.join(self.everything)}"
            return Problem(written, value, expected, suggest(word, self.everything) or f"given by {name}")
        return Problem(
            written, value, "a known setting", suggest(written, self.known_keys()) or f"given by {name}"
        )


def _walk(layer: Mapping[Any, Any], sections: Mapping[str, type[Config]]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (section, key, value) of everything in a layer; the section of a flat key is empty."""
    for key, value in layer.items():
        inside = stated_fields(value) if isinstance(value, Config) else value
        if key in sections and (isinstance(inside, Mapping) or inside is None):
            for inner, item in (inside or {}).items():
                if inner in sections and isinstance(item, (Mapping, Config)):
                    yield from _walk({inner: item}, sections)
                else:
                    yield str(key), inner, item
        elif isinstance(key, str) and "." in key:
            section, _, field = key.partition(".")
            yield section, field, value
        else:
            yield "", key, value
