"""JSON schema and documentation tables, made from the statements of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_config.base import Config, plain
from ptycho_config.errors import MISSING
from ptycho_config.fields import FieldSpec, field_specs, nested_fields
from ptycho_config.keys import SECTIONS

__all__ = ["file_schema", "json_schema", "markdown_table"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "path": "string"}
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}


def _base_schema(spec: FieldSpec) -> dict[str, Any]:
    limits = {word: getattr(spec, name) for name, word in _BOUNDS.items() if getattr(spec, name) is not None}
    if spec.kind == "int_list":
        return {"type": "array", "items": {"type": "integer", **limits}}
    if spec.kind == "paths":
        one = {"type": "string", "pattern": r"\S"}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}]}
    found: dict[str, Any] = {"type": _TYPES[spec.kind], **limits}
    if spec.choices is not None:
        found["enum"] = list(spec.choices)
    elif spec.pattern is not None:
        found["pattern"] = f"^(?:{spec.pattern[0]})$"
    elif found["type"] == "string":
        found["pattern"] = r"\S"
    return found


def _field_schema(spec: FieldSpec) -> dict[str, Any]:
    options = [_base_schema(spec)]
    if spec.words:
        options.append({"enum": list(spec.words)})
    if spec.optional:
        options.append({"type": "null"})
    found = options[0] if len(options) == 1 else {"anyOf": options}
    unit = f" [{spec.unit}]" if spec.unit else ""
    found = {"description": f"{spec.help}{unit}", **found}
    if spec.default is not MISSING:
        found["default"] = plain(spec.default)
    return found


def _object_schema(cls: type[Config], *, with_inner: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {spec.name: _field_schema(spec) for spec in field_specs(cls)}
    if with_inner:
        inner = {name: _object_schema(kind, with_inner=True) for name, kind in nested_fields(cls).items()}
        properties = {**inner, **properties}
    found: dict[str, Any] = {"type": "object", "title": cls.__name__, "properties": properties}
    required = [spec.name for spec in field_specs(cls) if spec.required]
    if required:
        found["required"] = required
    found["additionalProperties"] = False
    return found


def json_schema(cls: type[Config]) -> dict[str, Any]:
    """Describe one configuration class, as :func:`~ptycho_config.to_dict` writes it.

    Parameters
    ----------
    cls : type
        A configuration class.

    Returns
    -------
    dict
        A JSON schema (draft 2020-12) with descriptions, defaults and bounds.

    Examples
    --------
    >>> from ptycho_config import ModelConfig
    >>> json_schema(ModelConfig)["properties"]["N"]["multipleOf"]
    16
    """
    return {"$schema": _DIALECT, **_object_schema(cls, with_inner=True)}


def file_schema(schema: Mapping[str, type[Config]] = SECTIONS) -> dict[str, Any]:
    """Describe a configuration file written by section, for editors that complete and check YAML.

    Parameters
    ----------
    schema : mapping of str to type
        Section -> configuration class.

    Returns
    -------
    dict
        A JSON schema. Flat keys and older spellings, which a file may use too, are not in it.
    """
    sections = {name: _object_schema(cls, with_inner=False) for name, cls in schema.items()}
    for section in sections.values():
        section.pop("required", None)  # another layer may give it
    return {"$schema": _DIALECT, "type": "object", "properties": sections, "additionalProperties": False}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def markdown_table(cls: type[Config]) -> str:
    """Write the settings of a class as Markdown, one table per group.

    Parameters
    ----------
    cls : type
        A configuration class.

    Returns
    -------
    str
        Ends with a newline.
    """
    groups: dict[str, list[FieldSpec]] = {}
    for spec in field_specs(cls):
        groups.setdefault(spec.group, []).append(spec)
    lines: list[str] = []
    for group, specs in groups.items():
        if group:
            lines += [f"### {group}", ""]
        lines += ["| setting | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
        for spec in specs:
            default = "required" if spec.default is MISSING else f"`{plain(spec.default)!r}`"
            cells = (f"`{spec.name}`", default, spec.unit or "", spec.allowed, spec.help)
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"
