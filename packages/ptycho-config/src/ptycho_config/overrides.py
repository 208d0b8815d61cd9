"""From layers of settings to one resolved configuration.

Precedence, highest first: ``overrides``, ``execution_config``, ``cli``, ``file``, ``profile``, defaults. What
is absent from a layer is not ``None``: a layer that states ``None`` has spoken. Facts read from the data are
no layer: they fill what nobody stated, and contradict what somebody stated wrongly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptycho_config.base import Config, stated_fields
from ptycho_config.coerce import unwrap_scalar
from ptycho_config.errors import MISSING, ConfigError, Problem, suggest
from ptycho_config.execution import PyTorchExecutionConfig
from ptycho_config.fields import FieldSpec, nested_fields
from ptycho_config.keys import SECTIONS, Entry, KeyTable
from ptycho_config.profiles import Profile, get_profile
from ptycho_config.provenance import Fact, Provenance, ProvenanceTable, Resolution, show
from ptycho_config.validation import check_rules

__all__ = ["LAYERS", "SECTIONS", "Fact", "Provenance", "Resolution", "parse_assignments", "resolve"]

LAYERS = ("overrides", "execution_config", "cli", "file", "profile")
"""The layers above the defaults, highest first."""

_CROPPED = "model.N"
_LENIENT = frozenset({"file", "profile"})


@dataclass
class _Work:
    """What one resolution has gathered so far."""

    table: KeyTable
    job: str | None = None
    stated: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)

    def plays_a_part(self, spec: FieldSpec) -> bool:
        return self.job is None or self.job in spec.jobs

    def fail(self, address: str, problem: Problem) -> None:
        self.bad.add(address)
        self.problems.append(problem)


def resolve(
    schema: Mapping[str, type[Config]],
    *,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | Mapping[str, Any] | None = None,
    cli: Mapping[str, Any] | None = None,
    file: Mapping[str, Any] | None = None,
    profile: Profile | str | None = None,
    facts: Mapping[str, Any] | Callable[[Resolution], Mapping[str, Any]] | None = None,
    required: Iterable[str] = (),
    job: str | None = None,
) -> Resolution:
    """Merge layers of settings into checked configuration objects.

    Parameters
    ----------
    schema : mapping of str to type
        Section -> configuration class, for the sections this command uses; part of :data:`SECTIONS`.
    overrides, cli, file : mapping, optional
        Layers. Keys are flat, dotted or grouped by section, and may be older spellings. A flat key that
        several sections of the schema have counts for all of them. In ``file`` (and a profile), settings of
        known sections outside the schema are ignored with a note; elsewhere they are refused.
    execution_config : PyTorchExecutionConfig or mapping, optional
        Of an object, only the settings its caller stated count.
    profile : Profile or str, optional
        A profile or the name of one.
    facts : mapping or callable, optional
        Setting -> value or :class:`Fact` read from the data. A function that returns them is called with what
        the layers alone resolve to, when that is sound; it may find the data there.
    required : iterable of str
        Settings that a layer, the profile or a fact must give; for a path, ``None`` is not an answer.
    job : str, optional
        What the settings are for, one of :data:`~ptycho_config.JOBS`. A setting that has no effect in it is
        ignored with a note in ``file`` and a profile and refused elsewhere, unless it has its default.

    Returns
    -------
    Resolution
        Configuration objects, provenance, applied overrides and notes.

    Raises
    ------
    ConfigError
        With every problem of every layer: unknown keys, wrong values, missing settings, contradictions.
    KeyError
        When ``required`` names a setting the schema does not have, which is a mistake of the caller's code.

    Warns
    -----
    UserWarning
        When a stated N is smaller than that of the data, so that frames will be cropped.

    Examples
    --------
    >>> from ptycho_config import SECTIONS
    >>> done = resolve(SECTIONS, cli={"nepochs": 30}, file={"training": {"nepochs": 20}})
    >>> print(done.provenance["nepochs"])
    nepochs = 30  [cli]  over file=20  over default=50
    """
    work = _Work(KeyTable(schema), job)
    chosen = _choose_profile(profile, work)
    knobs = stated_fields(execution_config) if isinstance(execution_config, Config) else execution_config
    layers: dict[str, Mapping[str, Any] | None] = {
        "overrides": overrides,
        "execution_config": {"execution": knobs} if knobs else None,
        "cli": cli,
        "file": file,
        "profile": chosen.values if chosen else None,
    }
    for name in LAYERS:
        _read_layer(name, layers[name], work)
    if chosen:
        _hold_locks(chosen, work)
    needed = tuple(required)
    if callable(facts):
        _read_facts(facts(_resolved(chosen, needed, work)), work)
    else:
        _read_facts(facts or {}, work)
    return _resolved(chosen, needed, work)


def _resolved(chosen: Profile | None, required: Sequence[str], work: _Work) -> Resolution:
    """What the layers, and the facts so far, come to."""
    found: dict[str, Provenance | None] = {}
    for address, spec in work.table.specs.items():
        found[address] = _decide(address, spec, chosen.name if chosen else "", work)
    _demand(required, found, work)
    return _build(found, work)


def _choose_profile(profile: Profile | str | None, work: _Work) -> Profile | None:
    if not isinstance(profile, str):
        return profile
    try:
        return get_profile(profile)
    except ConfigError as error:
        work.problems += error.problems
        return None


def _read_layer(name: str, layer: Mapping[str, Any] | None, work: _Work) -> None:
    written: dict[str, tuple[str, Any]] = {}
    lenient = name in _LENIENT
    for entry in work.table.read(
        layer or {}, name=name, lenient=lenient, problems=work.problems, notes=work.notes
    ):
        spec = work.table.specs[entry.address]
        value, problem = spec.coerce(entry.value, name=work.table.label(entry.address))
        if problem is not None:
            hint = "; ".join(text for text in (problem.hint, f"given by {name} as {entry.key}") if text)
            work.fail(entry.address, Problem(problem.field, problem.value, problem.expected, hint))
            continue
        if not work.plays_a_part(spec):
            if value != spec.default:
                _set_aside(name, entry, spec, work)
            continue
        if entry.legacy:
            work.notes.append(
                f"{name}: {entry.key} is an older spelling, read as {spec.name} = {show(value)}"
            )
        if entry.address in written:
            other, before = written[entry.address]
            if before != value:
                expected = (
                    f"one value, but {other} = {show(before)} is given beside {entry.key} = {show(value)}"
                )
                label = work.table.label(entry.address)
                work.fail(entry.address, Problem(label, value, expected, f"keep one of them in {name}"))
            continue
        written[entry.address] = (entry.key, value)
        work.stated.setdefault(entry.address, []).append((name, value))


def _set_aside(name: str, entry: Entry, spec: FieldSpec, work: _Work) -> None:
    """Note or refuse a value of a setting that has no effect in this job."""
    if name in _LENIENT:
        work.notes.append(f"{name}: {entry.key} is ignored, {_where(spec)}")
    else:
        label = work.table.label(entry.address)
        work.fail(entry.address, _without_effect(label, entry.value, spec, work.job, f"given by {name}"))


def _where(spec: FieldSpec) -> str:
    return f"it has an effect in {' and '.join(spec.jobs)} only"


def _without_effect(label: str, value: Any, spec: FieldSpec, job: str | None, given: str) -> Problem:
    expected = f"{show(spec.default)}, its default, in {job}"
    return Problem(label, value, expected, f"{_where(spec)}; leave it away; {given}")


def _read_facts(facts: Mapping[str, Any], work: _Work) -> None:
    for key, value in facts.items():
        addresses = work.table.addresses(key)
        if not addresses:
            hint = suggest(key, work.table.known_keys())
            work.problems.append(Problem(key, value, "a known setting to fill from the data", hint))
        for address in addresses:
            fact = value if isinstance(value, Fact) else Fact(value)
            work.facts[address] = Fact(unwrap_scalar(fact.value), fact.source)


def _hold_locks(profile: Profile, work: _Work) -> None:
    for address in sorted(profile.locked & set(work.table.specs)):
        said = work.stated.get(address, [])
        fixed = dict(said).get("profile", MISSING)
        for layer, value in said:
            if layer != "profile" and value != fixed:
                expected = f"{show(fixed)}, which the profile {profile.name!r} locks"
                hint = f"remove it from {layer} or choose another profile"
                work.fail(address, Problem(work.table.label(address), value, expected, hint))


def _decide(address: str, spec: FieldSpec, profile: str, work: _Work) -> Provenance | None:
    """Find the value that counts for one setting, or report why there is none."""
    label = work.table.label(address)
    said = list(work.stated.get(address, ()))
    fact = work.facts.get(address)
    default = () if spec.required else (("default", spec.default),)
    if said:
        layer, value = said[0]
        below = (*said[1:], *default)
        if fact is not None and not _agree(value, fact.value):
            below = (*said[1:], ("data", fact.value), *default)
            _contradict(address, label, (layer, value), fact, work)
        return Provenance(label, value, layer, below, profile if layer == "profile" else "")
    if fact is not None:
        value, problem = spec.coerce(fact.value, name=label)
        if problem is None:
            return Provenance(label, value, "data", default, fact.source)
        work.fail(address, _explain_fact(address, problem, fact))
        return None
    if address in work.bad:
        return None
    return Provenance(label, spec.default, "default") if default else None


def _agree(stated: Any, read: Any) -> bool:
    if isinstance(stated, float) and isinstance(read, (int, float)) and not isinstance(read, bool):
        return math.isclose(stated, read, rel_tol=1e-6)  # single-precision metadata is no contradiction
    return bool(stated == read)


def _contradict(address: str, label: str, said: tuple[str, Any], fact: Fact, work: _Work) -> None:
    layer, value = said
    source = f" ({fact.source})" if fact.source else ""
    if address == _CROPPED and isinstance(fact.value, int) and value < fact.value:
        text = f"{label} = {value} [{layer}] is smaller than the {fact.value} of the data{source}"
        warnings.warn(f"{text}; frames and probe are cropped around the centre", UserWarning, stacklevel=5)
        work.notes.append(f"{text}; frames and probe cropped around the centre")
        return
    expected = f"{show(fact.value)}, which the data say{source}, but {layer} states {show(value)}"
    hint = f"leave {label} away, or use other data"
    if address == _CROPPED:
        hint += "; frames can be cropped to a smaller N, never enlarged"
    work.fail(address, Problem(label, value, expected, hint))


def _explain_fact(address: str, problem: Problem, fact: Fact) -> Problem:
    hint = f"read from the data{f' ({fact.source})' if fact.source else ''}"
    if address == _CROPPED and isinstance(fact.value, int) and fact.value > 32:
        hint += f"; state N = {fact.value // 16 * 16} to crop the frames"
    return Problem(problem.field, problem.value, problem.expected, hint)


def _demand(required: Iterable[str], found: Mapping[str, Provenance | None], work: _Work) -> None:
    needed = [address for key in required for address in _known(key, work)]
    needed += [
        address for address, spec in work.table.specs.items() if spec.required and address not in needed
    ]
    for address in needed:
        spec, item = work.table.specs[address], found[address]
        given = (
            item is not None
            and item.layer != "default"
            and (item.value is not None or spec.kind not in ("path", "paths"))
        )
        if not given and address not in work.bad:
            expected = (
                spec.allowed.removesuffix(" or None") if spec.kind in ("path", "paths") else spec.allowed
            )
            flag = f"with {spec.flags[0]} or " if spec.flags else ""
            hint = f"{spec.help}; state it {flag}as {address} in a file"
            work.fail(address, Problem(work.table.label(address), MISSING, expected, hint))


def _known(key: str, work: _Work) -> list[str]:
    addresses = work.table.addresses(key)
    if not addresses:
        raise KeyError(f"required names {key!r}, which no section of {list(work.table.schema)} has")
    return addresses


def _build(found: Mapping[str, Provenance | None], work: _Work) -> Resolution:
    """Check the rules between settings, then make the objects."""
    configs: dict[str, Config] = {}
    schema = work.table.schema
    for section in sorted(schema, key=lambda name: bool(nested_fields(schema[name]))):
        cls = schema[section]
        mine = {address: item for address, item in found.items() if address.partition(".")[0] == section}
        inner = {name: configs[name] for name in nested_fields(cls) if name in configs}
        bad = {address.partition(".")[2] for address in mine if address in work.bad}
        bad |= {name for name in nested_fields(cls) if name in schema and name not in configs}
        values = {name: make() for name, make in nested_fields(cls).items()} | inner
        values |= {
            address.partition(".")[2]: item.value for address, item in mine.items() if item is not None
        }
        problems = check_rules(cls.rules, values, bad)
        work.problems += problems
        if problems or bad:
            continue
        said = {
            a.partition(".")[2]: item.value for a, item in mine.items() if item and item.layer != "default"
        }
        configs[section] = cls(**inner, **said)
    if work.problems:
        raise ConfigError(work.problems)
    items = {address: item for address, item in found.items() if item is not None}
    specs = work.table.specs
    labels = {address: work.table.label(address) for address in items}
    applied = {
        labels[address]: item.value
        for address, item in items.items()
        if item.value != specs[address].default
        or (schema[address.partition(".")[0]] is PyTorchExecutionConfig and work.plays_a_part(specs[address]))
    }
    ordered = {section: configs[section] for section in schema}
    return Resolution(ordered, ProvenanceTable(items, labels), applied, tuple(work.notes))


def parse_assignments(
    schema: Mapping[str, type[Config]], texts: Iterable[str], *, job: str | None = None
) -> dict[str, Any]:
    """Read settings written as ``key=value``, as for ``--set``.

    Parameters
    ----------
    schema : mapping of str to type
        Section -> configuration class.
    texts : iterable of str
        Each ``key=value``, the key flat, dotted or an older spelling; the last one of a key counts.
    job : str, optional
        As for :func:`resolve`: what has no effect in it is refused.

    Returns
    -------
    dict
        Key as written -> checked value, ready to be a layer of :func:`resolve`.

    Raises
    ------
    ConfigError
        With every text that cannot be read.

    Examples
    --------
    >>> from ptycho_config import SECTIONS
    >>> parse_assignments(SECTIONS, ["training.nepochs=30", "max_time=none"])
    {'training.nepochs': 30, 'max_time': None}
    """
    table = KeyTable(schema)
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in texts:
        key, equals, word = (part.strip() for part in text.partition("="))
        if not equals or not key:
            hint = "write --set training.nepochs=30"
            problems.append(Problem("--set", text, "key=value", hint))
            continue
        for entry in table.read({key: word}, name="--set", lenient=False, problems=problems, notes=[])[:1]:
            spec = table.specs[entry.address]
            try:
                is_read = entry.legacy and not isinstance(entry.value, str)
                value = entry.value if is_read else spec.parse(entry.value)
            except ConfigError as error:
                problems += [
                    Problem(key, found.value, found.expected, found.hint) for found in error.problems
                ]
                continue
            if job is not None and job not in spec.jobs and value != spec.default:
                problems.append(_without_effect(key, value, spec, job, "given by --set"))
            values[key] = value
    if problems:
        raise ConfigError(problems)
    return values
