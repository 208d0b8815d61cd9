"""Units that files state beside their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptycho_torch.data.scan.geometry import energy_eV_from_joule

__all__ = ["UNITS", "scale_of", "stated_unit"]

_LENGTHS = {
    1.0: ("m", "meter", "metre"),
    1e-2: ("cm", "centimeter", "centimetre"),
    1e-3: ("mm", "millimeter", "millimetre"),
    1e-6: ("um", "µm", "\u03bcm", "micron", "micrometer", "micrometre"),
    1e-9: ("nm", "nanometer", "nanometre"),
    1e-10: ("a", "å", "\u212b", "ang", "angstrom", "ångström"),
    1e-12: ("pm", "picometer", "picometre"),
}
_ENERGIES = {
    1.0: ("ev", "electronvolt"),
    1e3: ("kev", "kiloelectronvolt"),
    1e6: ("mev",),
    1e9: ("gev",),
    energy_eV_from_joule(1.0): ("j", "joule"),
}
_SCALES = {
    "m": {name: factor for factor, names in _LENGTHS.items() for name in names},
    "eV": {name: factor for factor, names in _ENERGIES.items() for name in names},
}
UNITS = {"m": "m, mm, um, nm or angstrom", "eV": "eV, keV or J"}
"""Unit of the result to the units that are understood, for messages."""


def stated_unit(item: Any) -> str | None:
    """Text of the attribute ``units`` of a dataset, None when there is none."""
    for name in ("units", "unit", "Units"):
        if name in item.attrs:
            value = np.asarray(item.attrs[name]).reshape(-1)
            text = value[0] if value.size == 1 else ""
            return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)
    return None


def scale_of(unit: str, result: str) -> float | None:
    """Factor from ``unit`` to ``result``, ``"m"`` or ``"eV"``; None when it is no such unit."""
    name = unit.strip()
    if name == "meV":  # a thousandth, where MeV is a million
        return 1e-3 if result == "eV" else None
    name = name.lower()
    return _SCALES[result].get(name, _SCALES[result].get(name.removesuffix("s")) if len(name) > 2 else None)
