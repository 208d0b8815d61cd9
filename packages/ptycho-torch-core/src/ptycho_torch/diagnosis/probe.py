"""Whether the probe can be what lit these frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import Diagnosis, Finding

__all__ = ["PROBE_DIAGNOSES", "beam_centre", "corner", "mirrored", "probe_order", "probe_plane", "real_probe"]

Map = npt.NDArray[np.float64]
_BETTER = 1.5
_LEAST = 0.1
_OFF_PX = 1.5

_TURNS = {
    "flipped top to bottom": lambda m: np.roll(m[::-1], 1 - len(m) % 2, 0),
    "flipped left to right": lambda m: np.roll(m[:, ::-1], 1 - len(m) % 2, 1),
    "turned by 180 degrees": lambda m: np.roll(m[::-1, ::-1], (1 - len(m) % 2,) * 2, (0, 1)),
    "transposed": lambda m: m.T,
    "turned by 90 degrees clockwise": lambda m: np.roll(m.T[:, ::-1], 1 - len(m) % 2, 1),
    "turned by 90 degrees anticlockwise": lambda m: np.roll(m.T[::-1], 1 - len(m) % 2, 0),
    "mirrored at its other diagonal": lambda m: np.roll(m.T[::-1, ::-1], (1 - len(m) % 2,) * 2, (0, 1)),
}


def _corners(light: Map) -> float:
    """Share of a map in its corners: a quarter of the area."""
    middle = slice(light.shape[0] // 4, light.shape[0] - light.shape[0] // 4)
    total = float(light.sum())
    return float(np.fft.fftshift(light)[middle, middle].sum()) / total if total > 0 else 0.0


def _distance(measured: Map, own: Map, free: npt.NDArray[np.bool_]) -> float:
    """Of Hellinger, between the shapes of two maps; 0 alike, 1 apart."""
    a, b = np.where(free, measured, 0).clip(min=0), np.where(free, own, 0)
    if not (a.sum() > 0 and b.sum() > 0):
        return 1.0
    return float(np.sqrt(((np.sqrt(a / a.sum()) - np.sqrt(b / b.sum())) ** 2).sum() / 2))


def _free(evidence: Evidence) -> npt.NDArray[np.bool_]:
    return ~(evidence.stated | evidence.frames.left_out | (evidence.frames.n_top > 0))


def _intensity(probe: npt.NDArray[Any]) -> Map:
    light: Map = (np.abs(probe).astype(np.float64) ** 2).sum(axis=0)
    return light / light.sum()


def corner(evidence: Evidence) -> Finding:
    """Zero frequency in the corner of the frames."""
    share = _corners(np.where(_free(evidence), evidence.frames.mean, 0))
    numbers = {"share_in_corners": share}
    if share <= 0.5:
        text = "the zero frequency lies in the middle of the frames"
        return Finding(name="corner", found=False, text=text, numbers=numbers)
    return Finding(
        name="corner",
        found=True,
        severity="warning",
        text=(
            f"the light is in the corners of the frames ({share:.0%} of it), but the zero frequency "
            "belongs in the "
            "middle, at [N // 2, N // 2]"
        ),
        advice="apply numpy.fft.fftshift(frames, axes=(-2, -1))",
        numbers=numbers,
    )


def beam_centre(evidence: Evidence) -> Finding:
    """Beam beside the middle of the frames."""
    mean = np.where(_free(evidence), evidence.frames.mean, 0)
    name = "beam-centre"
    if not mean.sum() > 0 or _corners(mean) > 0.5:
        return Finding(name=name, found=False, text="the beam has no centre to look at")
    # The peak of the correlation, because a centre of mass follows every pixel of the background.
    spectrum = np.fft.fft2(mean) * np.conj(np.fft.fft2(evidence.far_field))
    correlation = np.fft.ifft2(spectrum).real
    offset = np.array(np.unravel_index(int(correlation.argmax()), correlation.shape))
    offset = np.where(offset > evidence.size // 2, offset - evidence.size, offset)
    numbers = {"offset_px": offset.tolist()}
    down, right = int(offset[0]), int(offset[1])
    vertical, horizontal = "below" if down > 0 else "above", "right" if right > 0 else "left"
    where = f"{abs(down)} px {vertical} and {abs(right)} px {horizontal}"
    text = f"the beam lies {where} of where the probe sends it"
    if (
        np.abs(offset).max() < _OFF_PX
        or _distance(mean, np.roll(evidence.far_field, offset, (0, 1)), _free(evidence)) > 0.5
    ):
        return Finding(name=name, found=False, text=text, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        text=text,
        advice="the object gets a phase ramp from that: crop the frames around the beam",
        numbers=numbers,
    )


def probe_order(evidence: Evidence) -> Finding:
    """Probe in the order of a plain transform, its middle in the corners."""
    share = _corners(_intensity(evidence.probe))
    if share <= 0.5 + 0.25 * (evidence.diameter > 0.7 * evidence.size):
        return Finding(name="probe-order", found=False, text="the probe lies in the middle of its array")
    return Finding(
        name="probe-order",
        found=True,
        severity="warning",
        text=f"the probe lies in the corners of its array ({share:.0%} of its light)",
        advice="apply numpy.fft.fftshift(probe, axes=(-2, -1))",
        numbers={"share_in_corners": share},
    )


def probe_plane(evidence: Evidence) -> Finding:
    """Probe given in the plane of the detector or of the lens instead of that of the sample."""
    mean, free = evidence.frames.mean, _free(evidence)
    as_is = _distance(mean, evidence.far_field, free)
    light = _intensity(evidence.probe)
    other = min(_distance(mean, light, free), _distance(mean, np.fft.fftshift(light), free))
    numbers = {"misfit": as_is, "misfit_of_other_plane": other}
    if _corners(mean) > 0.5 or min(light[free].sum(), evidence.far_field[free].sum()) < 0.5:
        text = "too much of the light is masked, or in the corners, to tell the plane of the probe"
        return Finding(name="probe-plane", found=False, text=text, numbers=numbers)
    text = f"the light of the probe on the detector is {as_is:.2f} from the mean frame (0 alike, 1 apart)"
    if as_is < max(0.3, _BETTER * other):
        return Finding(name="probe-plane", found=False, text=text, numbers=numbers)
    return Finding(
        name="probe-plane",
        found=True,
        text=f"{text}, the probe as it stands {other:.2f}: it may be given in the plane of the detector",
        advice="transform it: numpy.fft.fftshift(numpy.fft.ifft2(numpy.fft.ifftshift(probe)))",
        numbers=numbers,
    )


def real_probe(evidence: Evidence) -> Finding:
    """Probe without a phase."""
    probe = evidence.probe
    if np.abs(np.imag(probe)).max() > 1e-6 * np.abs(probe).max():
        return Finding(name="real-probe", found=False, text="the probe is complex")
    return Finding(
        name="real-probe",
        found=True,
        text="the probe is real: it is in focus, or its phase was lost",
        advice=(
            "if it is a picture of the intensity, take the root and let refine find the rest with "
            "--refine-probe"
        ),
    )


def mirrored(evidence: Evidence) -> Finding:
    """Light of the probe that fits the frames when it is turned or flipped."""
    mean, free, name = evidence.frames.mean, _free(evidence), "far-field"
    as_is = _distance(mean, evidence.far_field, free)
    turned = {said: _distance(mean, turn(evidence.far_field), free) for said, turn in _TURNS.items()}
    best = min(turned, key=lambda said: turned[said])
    numbers = {"misfit": as_is, "misfit_of_turned": turned}
    text = f"the light of the probe on the detector is {as_is:.2f} from the mean frame (0 alike, 1 apart)"
    if as_is < max(_LEAST, _BETTER * turned[best]):
        return Finding(name=name, found=False, text=text, numbers=numbers)
    meaning = (
        "the probe may be conjugated, or the frames turned"
        if "180" in best
        else "the frames may be mounted so"
    )
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=f"{text}, and {turned[best]:.2f} when it is {best}: {meaning}",
        advice="compare the orientation of detector and probe",
        numbers=numbers,
    )


PROBE_DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="corner",
        looks_for="frames whose zero frequency is in a corner",
        threshold=(
            "more than half of the light in the corners, where a flat frame has a quarter of it and a ring "
            "has less"
        ),
        examine=corner,
    ),
    Diagnosis(
        name="beam-centre",
        looks_for="a beam beside the middle of the frames",
        threshold=(
            f"more than {_OFF_PX} px between the mean frame and the light of the probe on the detector, if "
            "the two look alike"
        ),
        examine=beam_centre,
    ),
    Diagnosis(
        name="probe-order",
        looks_for="a probe whose middle is in the corners of its array",
        threshold="more than half of its light in the corners",
        examine=probe_order,
    ),
    Diagnosis(
        name="probe-plane",
        looks_for="a probe stated in the plane of the detector",
        threshold=(
            f"the mean frame looks {_BETTER} times more like the probe than like its light on the detector"
        ),
        examine=probe_plane,
    ),
    Diagnosis(
        name="real-probe",
        looks_for="a probe without phase",
        threshold="imaginary parts below a millionth of the probe",
        examine=real_probe,
    ),
    Diagnosis(
        name="far-field",
        looks_for="frames or a probe that are turned, flipped or conjugated",
        threshold=(
            f"the mean frame looks {_BETTER} times more like the light of the turned probe; a symmetric "
            "probe cannot tell"
        ),
        examine=mirrored,
    ),
)
