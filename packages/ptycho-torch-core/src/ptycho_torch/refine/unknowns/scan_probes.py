r"""The probes of several scans of one object, each with its own dose.

Frame j of scan s is lit by :math:`\sqrt{d_s} P_s`. Each probe is fitted as that of one scan is, from the
frames of its own scan. The doses take, per batch and over the frames of the scan,

.. math:: d_s \leftarrow d_s \left(1 - \frac{\sum_{jq} w_{jq} \lambda_{jq}}{\sum_{jq} \lambda_{jq}}\right)

with the weights w of :mod:`ptycho_torch.refine.likelihood`: half the step of expectation maximisation (Shepp
and Vardi, IEEE Trans. Med. Imaging 1, 113, 1982), since the object goes the same way. What the doses have in
common is left to the object, and their mean stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import Chunk, Indices, Published, Setup, Step
from ptycho_torch.refine.unknowns.probe import ProbeUnknown
from ptycho_torch.refine.unknowns.varying_probe import VaryingProbe

__all__ = ["ScanProbes"]

_LEAST_GROWTH = 0.5
_TINY = 1e-30


class ScanProbes(ProbeUnknown):
    """The doses of the scans, real ``(scans,)`` with mean one over the frames, and a probe for each.

    Parameters
    ----------
    probes
        One for every scan; they have the same number of modes.
    scan_index
        int64, ``(n,)``: the scan of every frame, from 0.
    doses
        Real, ``(scans,)``: where to start.
    finds_doses
        Whether they are fitted; where every frame has its own dose they are not.
    """

    def __init__(
        self, probes: Sequence[ProbeUnknown], scan_index: Indices, doses: Tensor, *, finds_doses: bool
    ) -> None:
        self.probes, self.scan_index, self.finds_doses = tuple(probes), scan_index, finds_doses
        self.counts = np.bincount(scan_index, minlength=len(probes))
        # Numbers of the frames within their scan.
        self.own = np.zeros(len(scan_index), dtype=np.int64)
        for scan, count in enumerate(self.counts):
            self.own[scan_index == scan] = np.arange(count)
        first = self.probes[0]
        super().__init__(doses, first.ramp, fitted=first.fitted or finds_doses, first_epoch=first.first_epoch)
        self.comes_out_late = any(probe.comes_out_late for probe in self.probes)

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The probes of the scans, calibrated, as bright as the frames."""
        assert setup.probes is not None
        index = setup.scan.scan_index
        counts = np.bincount(index)
        light = np.bincount(index, weights=setup.scan.counts_per_frame()) / counts
        doses = torch.from_numpy(light / np.average(light, weights=counts))
        kind = VaryingProbe if setup.config.probe_variation else ProbeUnknown
        each = zip(setup.probes, counts.tolist(), strict=True)
        return cls(
            [kind.of(replace(setup, probe=probe, probes=None, n_frames=count)) for probe, count in each],
            index,
            doses.to(setup.device, setup.dtype.to_real()),
            finds_doses=not setup.config.refine_dose,
        )

    @property
    def n_factors(self) -> int:
        """One where the probes are fitted."""
        return int(self.probes[0].moving)

    def _rows(self, frames: Indices) -> Iterator[tuple[int, Indices]]:
        """Scans among some frames, each with the rows of its frames."""
        index = self.scan_index[frames]
        for scan in np.unique(index).tolist():
            yield scan, np.flatnonzero(index == scan)

    def light(self, where: SolverPlacement, frames: Indices) -> Tensor:
        """What they send to frames, complex ``(batch, modes, N, N)``."""
        shape = self.probes[0].value.shape
        sent = self.probes[0].value.new_empty(len(frames), *shape)
        for scan, rows in self._rows(frames):
            chosen = torch.from_numpy(rows)
            own = self.probes[scan].light(where.part(chosen), self.own[frames[rows]])
            sent[chosen] = own * self.value[scan].sqrt()
        return sent

    def shares_light(self, where: SolverPlacement) -> bool:
        """No: every scan has its own."""
        return False

    def begin(self, epoch: int) -> None:
        """Start an epoch; doses are fitted from the first one on."""
        super().begin(epoch)
        self.moving = self.fitted and (self.moving or self.finds_doses)
        for probe in self.probes:
            probe.begin(epoch)

    def start_batch(self) -> None:
        """Forget the gradients of the last batch."""
        self.excess = torch.zeros(2, len(self.value), dtype=torch.float64, device=self.value.device)
        for probe in self.probes:
            probe.start_batch()

    def add_wave(self, chunk: Chunk) -> None:
        """Add what the frames of each scan say of its probe and its dose."""
        light = squared_modulus(chunk.field).sum(dim=-3)
        sums = torch.stack([(chunk.weight * light).sum(dim=(-2, -1)), light.sum(dim=(-2, -1))]).double()
        for scan, rows in self._rows(chunk.frames):
            self.excess[:, scan] += sums[:, torch.from_numpy(rows)].sum(dim=1)
            if self.probes[scan].moving:
                own = self.own[chunk.frames[rows]]
                self.probes[scan].add_light(chunk.light_gradient.of(rows, own, self.value[scan].sqrt()))

    def sums(self) -> tuple[Tensor, ...]:
        """Gradients and curvatures of all probes, and what the frames have too much of."""
        return *(part for probe in self.probes for part in probe.sums()), self.excess

    def step(self, step: Step) -> None:
        """The steps of the probes, and that of the doses."""
        for scan, probe in enumerate(self.probes):
            mine, frames = (self._own_of(scan, some) for some in (step.mine, step.frames))
            if probe.moving and len(frames):
                probe.step(replace(step, frames=frames, mine=mine))
        if self.finds_doses:
            too_much, light = self.excess
            growth = (1 - too_much / light.clamp(min=_TINY)).clamp(_LEAST_GROWTH, 1 / _LEAST_GROWTH)
            self.value = self.value * growth.to(self.value)

    def _own_of(self, scan: int, frames: Indices) -> Indices:
        """Numbers within a scan of those of its frames that are among some."""
        return self.own[frames[self.scan_index[frames] == scan]]

    def settle(self) -> None:
        """What all doses have in common is the object's."""
        for probe in self.probes:
            if probe.moving:
                probe.settle()
        self.value = self.value / float(np.average(self.value.cpu().numpy(), weights=self.counts))

    def advance(self, momentum: float) -> None:
        """Take the values for the result of the epoch; doses follow the object, which has momentum."""
        for probe in self.probes:
            probe.advance(momentum)
        self.now = self.ahead = self.value

    def multiply(self, factor: Tensor) -> None:
        """Multiply every probe; the doses stay."""
        for probe in self.probes:
            probe.multiply(factor)

    def go_back(self) -> None:
        """Return to the result of the last epoch that ended."""
        super().go_back()
        for probe in self.probes:
            probe.go_back()

    def publish(self, result: Published) -> None:
        """Every probe of the calibrated power, and the doses that are left; the object takes their mean."""
        image, doses = result.object, self.now.double()
        gains: list[float] = []
        probes: list[Tensor] = []
        varied: list[Published] = []
        for probe in self.probes:
            made = Published(
                object=torch.ones_like(image[:1, :1]), probe=probe.now, positions=result.positions
            )
            probe.publish(made)
            gains.append(float(made.object.abs().item()))
            probes.append(made.probe)
            varied.append(made)
        doses = doses.cpu() * torch.tensor(gains, dtype=torch.float64).square()
        mean = float(np.average(doses.numpy(), weights=self.counts))
        result.object, result.probe = image * mean**0.5, probes[0]
        found = (doses / mean).numpy()
        result.others |= {
            "probes": torch.stack(probes).to(torch.complex64).cpu().numpy(),
            "scan_index": self.scan_index,
            "scan_dose": found,
            "dose": found[self.scan_index],
        }
        if "probe_variation" in varied[0].others:
            self._publish_variations(result, varied)

    def _publish_variations(self, result: Published, varied: Sequence[Published]) -> None:
        modes = np.stack([np.asarray(one.others["probe_variation"]) for one in varied])
        weights = np.zeros((len(self.scan_index), modes.shape[1]), dtype=np.complex64)
        for scan, one in enumerate(varied):
            weights[self.scan_index == scan] = one.others["probe_variation_weights"]
            result.said[f"probe_variation, scan {scan + 1}"] = one.said["probe_variation"]
        result.others |= {"probe_variations": modes, "probe_variation_weights": weights}
