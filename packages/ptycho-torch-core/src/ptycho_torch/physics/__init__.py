"""Pure physics of ptychography: tensors and numbers in, tensors out.

Nothing here knows configuration objects, files or trainers.
"""

from ptycho_torch.physics.forward import DiffractionOperator, incoherent_intensity, predicted_counts
from ptycho_torch.physics.fourier import far_field, far_field_adjoint
from ptycho_torch.physics.losses import amplitude_mae, poisson_deviance, total_variation
from ptycho_torch.physics.placement import Fourier, Placement, WholePixel
from ptycho_torch.physics.placement_bilinear import Bilinear
from ptycho_torch.physics.probe import illumination, probe_power, soft_disk, with_power
from ptycho_torch.physics.residual import residual_of_pairs, residual_sums
from ptycho_torch.physics.scaling import Calibration, calibrate, normalised_amplitude

__all__ = [
    "Bilinear",
    "Calibration",
    "DiffractionOperator",
    "Fourier",
    "Placement",
    "WholePixel",
    "amplitude_mae",
    "calibrate",
    "far_field",
    "far_field_adjoint",
    "illumination",
    "incoherent_intensity",
    "normalised_amplitude",
    "poisson_deviance",
    "predicted_counts",
    "probe_power",
    "residual_of_pairs",
    "residual_sums",
    "soft_disk",
    "total_variation",
    "with_power",
]
