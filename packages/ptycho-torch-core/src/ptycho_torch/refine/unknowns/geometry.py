r"""What moves all frames together: scale, rotation and shear of the scan, and a drift.

Frame j lies at :math:`p_j + \sum_k c_k B_{jk}`, with the positions p and functions B of
:mod:`ptycho_torch.refine.displacements`.

Where the whole scan is stretched, neighbours on both sides pull a frame in opposite directions: it stays, and
the object is stretched with the scan. What is left over is that the part of the object in each frame is
stretched too, while light and detector say how large it is. So the object is taken along: with
:math:`u_k(x)` the mean of :math:`B_{jk}` over the frames that light x, the patch of frame j changes by
:math:`\sum_k c_k v_{jk} \partial O_j`, :math:`v_{jk}(r) = B_{jk} - u_k(p_j + r)`. Of an affine map this is
minus the distance from the middle of the patch. Of a drift it is how far frames are apart that overlap. Once
per epoch

.. math:: c \leftarrow c - \gamma \Big(\sum_j w_j J_j^T J_j\Big)^{-1} \sum_j w_j J_j^T \chi_j, \qquad
          J_{jk} = P\, v_{jk}\, \partial O_j,

a Gauss-Newton step on what all frames say together (for one frame: Odstrcil, Menzel and Guizar-Sicairos, Opt.
Express 26, 3108, 2018), with Huber's weights w, so that frames that are wrong in another way do not decide.
Frames tell amplitudes, which is half of what an exit wave holds, so that :math:`\gamma = 2`. The
object then moves along, :math:`O(x) \leftarrow O(x - \sum_k c_k u_k(x))`.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_config import RefineConfig
from ptycho_torch.data.scan.affine import AffineMap
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.errors import MissingMetadata
from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.reassembly.team import ALONE, Team
from ptycho_torch.refine.displacements import Displacements, displacements_of, taken_along
from ptycho_torch.refine.robust import robust_fit, robust_step
from ptycho_torch.refine.unknowns.base import Chunk, Indices, Published, Setup, Step, Unknown

__all__ = ["GeometryUnknown", "room_px"]

_EPOCHS_FROM_FLAT = 3
_LENGTH = 2.0
_MOMENTUM = 0.5
_LARGEST_STRETCH = 0.1
_LARGEST_DRIFT = 0.5
"""As a share of the side of a frame."""
_TAKEN_ALONG_PX = 0.02
_WAITS = ((0.1, 1), (0.01, 3), (0.0, 5))
"""Epochs from one step to the next, by how far the last one went (px): the object has to follow."""
_MARGIN_PX = 2
_LARGEST_OFFSET_PX = 4
"""What may be left of the offset of a scan once it was found."""


def room_px(
    config: RefineConfig, positions: npt.NDArray[np.float64], n_pixels: int, *, several: bool = False
) -> int:
    """How far frames at ``positions`` (n, 2), of several scans or one, may move together, px."""
    stretched = _LARGEST_STRETCH * float(np.ptp(positions, axis=0).max()) * config.refine_geometry
    room = int(np.ceil(stretched + _LARGEST_DRIFT * n_pixels * config.refine_drift))
    return room + (_LARGEST_OFFSET_PX + _MARGIN_PX) * several


class GeometryUnknown(Unknown):
    """float64, ``(2, K)``: how far along y and along x by each function; px.

    Parameters
    ----------
    setup
        Settings, positions, probe, canvas.
    functions
        Those of the frames that are fitted.
    room
        How far a frame may move; px.
    """

    moves_light = True

    def __init__(self, setup: Setup, functions: Displacements, room: int) -> None:
        self.functions, self.room = functions, room
        self.basis = torch.from_numpy(functions.values).to(setup.device)
        value = self.basis.new_zeros(2, self.basis.shape[1])
        super().__init__(value, fitted=True, first_epoch=setup.first_epoch(_EPOCHS_FROM_FLAT))
        self.n_pixels, self.dtype = setup.scan.N, setup.dtype
        light = squared_modulus(setup.probe).sum(dim=0).cpu().double().numpy()
        self.fields = torch.from_numpy(functions.fields(setup.canvas, light)).to(
            setup.device, setup.dtype.to_real()
        )
        self.pixel_m = _pixel_of(setup.scan)
        self.scan_index = None if setup.probes is None else setup.scan.scan_index
        self.drifts = setup.config.refine_drift
        self.processes: Team = ALONE
        self.change = torch.zeros_like(value)
        self.epoch = self.next_epoch = 0
        self._forget()

    @classmethod
    def of(cls, setup: Setup) -> Self | None:
        """A scan as it is stated; None unless the settings ask for more, or there are several scans."""
        config, positions = setup.config, setup.scan.positions
        several = setup.probes is not None
        if not (config.refine_geometry or config.refine_drift or several):
            return None
        functions = displacements_of(
            positions,
            affine=config.refine_geometry,
            drift=config.refine_drift,
            scan_index=setup.scan.scan_index if several else None,
        )
        return cls(setup, functions, room_px(config, positions, setup.scan.N, several=several))

    def placed(self, positions: Tensor, frames: Indices) -> Tensor:
        """Moved."""
        return positions + self.basis[torch.from_numpy(frames)] @ self.value.T

    def begin(self, epoch: int) -> None:
        """Start an epoch; the less the scan moves, the fewer of them look at it."""
        super().begin(epoch)
        self.epoch = epoch
        self.moving = self.moving and epoch >= self.next_epoch
        self._forget()

    def _forget(self) -> None:
        n, k = self.basis.shape
        self.pull = self.basis.new_zeros(n, 2 * k)
        self.stiffness = self.basis.new_zeros(n, 2 * k, 2 * k)

    def _farthest(self, change: Tensor) -> float:
        return float((self.basis @ change.T).abs().max())

    def add_patches(self, chunk: Chunk) -> None:
        """Keep what every frame says: its gradient and its curvature."""
        rows = torch.from_numpy(chunk.frames)
        batch, count = len(rows), self.basis.shape[1]
        moved = self._stretched(chunk, rows).reshape(batch, count, -1)
        # Those of the patches themselves are cut from one field of the object, as the object is that moves
        # along. With derivatives by the position of an interpolated patch it would settle beside the truth.
        down, right = _slopes(chunk.patches)
        towards = [_product(slope, chunk.patch_gradient) for slope in (down, right)]
        pull = torch.stack(towards, dim=1).reshape(batch, 2, -1) @ moved.transpose(1, 2)
        self.pull[rows] = pull.reshape(batch, -1).double()
        power = squared_modulus(chunk.light).sum(dim=-3)
        pairs = ((down, down), (down, right), (right, right))
        weights = torch.stack([power * _product(*pair) for pair in pairs], dim=1).reshape(batch, 3, 1, -1)
        # One product of matrices per frame; a broadcast one would copy its second factor.
        weighted = (weights * moved[:, None]).reshape(batch, 3 * count, -1)
        products = (weighted @ moved.transpose(1, 2)).double().reshape(batch, 3, count, count)
        yy, yx, xx = products.unbind(dim=1)
        both = torch.stack((torch.stack((yy, yx), dim=1), torch.stack((yx, xx), dim=1)), dim=1)
        self.stiffness[rows] = both.transpose(2, 3).reshape(batch, 2 * count, 2 * count)

    def _stretched(self, chunk: Chunk, rows: Tensor) -> Tensor:
        """How far the pixels of a frame move on the object by each function, real ``(batch, K, N, N)``."""
        own = self.basis[rows].to(self.fields.dtype)[:, :, None, None]
        count, there = self.functions.n_affine, []
        if count:
            axis = torch.arange(self.n_pixels, dtype=own.dtype, device=own.device) - self.n_pixels // 2
            both = torch.stack(torch.meshgrid(axis, axis, indexing="ij")) / self.functions.reach_px
            there.append(own[:, :count] + both)
        for first in range(count, len(self.fields), 2):
            # Two real fields are cut as one complex one.
            pair = torch.complex(self.fields[first], self.fields[min(first + 1, len(self.fields) - 1)])
            parts = torch.view_as_real(chunk.where.cut(pair)).permute(0, 3, 1, 2)
            there.append(parts[:, : len(self.fields) - first])
        return own - torch.cat(there, dim=1)

    def step(self, step: Step) -> None:
        """Nothing yet: the step is taken when all frames were seen."""
        self.processes = step.processes

    def settle(self) -> None:
        """Take the step."""
        for part in (self.pull, self.stiffness):
            self.processes.sum(part)
        found = robust_step(self.pull.cpu(), self.stiffness.cpu()).reshape(2, -1)
        step = _LENGTH * found.to(self.value)
        # Steps that agree with the last one go on: of a drift, some parts come slowly.
        if float((step * self.change).sum()) > 0:
            step = step + _MOMENTUM * self.change
        value = self.value + step
        limit = self.room - _MARGIN_PX
        value = value * min(1.0, limit / max(self._farthest(value), limit))
        self.change, self.value = value - self.value, value
        far = self._farthest(self.change)
        self.next_epoch = self.epoch + next(wait for least, wait in _WAITS if far >= least)

    def take_along(self, image: Unknown, probe: Unknown) -> None:
        """Move the object by the step, with its momentum, where the step is more than a trifle."""
        if self._farthest(self.change) < _TAKEN_ALONG_PX:
            return
        moved = torch.einsum("ak,khw->ahw", self.change.to(self.fields.dtype), self.fields)
        image.value, image.now, image.ahead = (
            taken_along(one, moved) for one in (image.value, image.now, image.ahead)
        )

    def advance(self, momentum: float) -> None:
        """Take what was found for the result of the epoch; it has no momentum of its own."""
        self.now = self.ahead = self.value

    def publish(self, result: Published) -> None:
        """Positions, and what all of them have in common, also where every frame moved by itself."""
        result.positions = result.positions + self.basis @ self.now.T
        moved = result.positions.cpu() - torch.from_numpy(self.functions.positions)
        common = robust_fit(moved, self.basis.cpu()).numpy()
        count = self.functions.n_affine
        if count:
            matrix = np.eye(2) + common[:count].T / self.functions.reach_px
            result.others |= _numbers(AffineMap.of(matrix))
            result.said["geometry"] = _in_words(AffineMap.of(matrix))
        drift = self.functions.drift @ common[count:]
        if self.scan_index is not None:
            offsets = _means(drift, self.scan_index)
            drift = drift - offsets[self.scan_index]
            result.others["scan_offset_px"] = offsets - offsets[0]
        if self.drifts:
            result.others["drift"] = drift
            result.said["drift"] = self._drift_in_words(drift)
        if self._farthest(self.now) > self.room - _MARGIN_PX - 1:
            result.said["moved"] = (
                f"as far as allowed, {self.room - _MARGIN_PX} px: correct the positions first"
            )

    def _drift_in_words(self, drift: npt.NDArray[np.float64]) -> str:
        distance = np.hypot(*drift.T)
        words = f"{np.sqrt((distance**2).mean()):.2f} px (rms), at most {distance.max():.2f} px"
        if self.pixel_m is None:
            return words
        farthest = np.hypot(*(drift * self.pixel_m).T).max()
        return f"{words} or {1e9 * farthest:.3g} nm"


def _means(values: npt.NDArray[np.float64], index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Means (k, 2) of the values (n, 2) that belong to each index."""
    counts = np.bincount(index)
    return np.stack([np.bincount(index, weights=column) / counts for column in values.T], axis=1)


def _slopes(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of patches by y and by x, complex ``(batch, N, N)``: central differences."""
    down, right = torch.zeros_like(patches), torch.zeros_like(patches)
    down[:, 1:-1] = (patches[:, 2:] - patches[:, :-2]) / 2
    right[..., 1:-1] = (patches[..., 2:] - patches[..., :-2]) / 2
    return down, right


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Real part of the product of complex tensors, the first one conjugate."""
    return first.real * second.real + first.imag * second.imag


def _pixel_of(scan: Scan) -> npt.NDArray[np.float64] | None:
    """Height and width of a pixel of the object, m."""
    try:
        return np.array(ScanGeometry.from_entries(scan.metadata, scan.N).object_pixel_m)
    except MissingMetadata:
        return None


def _numbers(found: AffineMap) -> dict[str, float]:
    return {
        "scan_stretch_y": found.scale_y - 1,
        "scan_stretch_x": found.scale_x - 1,
        "scan_rotation_deg": found.rotation_deg,
        "scan_shear": found.shear,
    }


def _in_words(found: AffineMap) -> str:
    return (
        f"steps longer by {100 * (found.scale_y - 1):+.2f} % in y, {100 * (found.scale_x - 1):+.2f} % in x, "
        f"rotation {found.rotation_deg:+.2f}°, shear {100 * found.shear:+.2f} %"
    )
