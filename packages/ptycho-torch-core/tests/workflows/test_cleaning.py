"""Every job reads its scan as it is told: cleaned, as it is, or not at all."""

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.config_factory import (
    create_inference_payload,
    create_refinement_payload,
    create_training_payload,
)
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.reading import cleaning_of
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, ScanWarning
from ptycho_torch.workflows import infer, refine_scan
from ptycho_torch.workflows.jobs.preparation import prepare_training


@pytest.fixture
def faulty(tmp_path, tiny_scan):
    """A scan with an empty row of pixels and an enormous value, as a file."""
    from dataclasses import replace

    frames = tiny_scan.diffraction.astype(np.int32)
    frames[:, 14] = 0
    frames[5, 3, 3] = 10**6
    save_scan(tmp_path / "faulty.npz", replace(tiny_scan, diffraction=frames))
    return tmp_path / "faulty.npz"


def payloads(faulty, folder, bundle, cpu, **stated):
    return (
        (
            prepare_training,
            create_training_payload(faulty, folder / "t", {"nepochs": 1, **stated}, cpu()).task,
        ),
        (infer, create_inference_payload(bundle, faulty, folder / "i", stated, cpu())),
        (refine_scan, create_refinement_payload(faulty, folder / "r", {"refine_epochs": 1, **stated}, cpu())),
    )


def test_every_job_cleans_what_it_is_told_to(faulty, tmp_path, trained, cpu):
    for job, payload in payloads(faulty, tmp_path, trained.output_dir, cpu):
        with pytest.warns(ScanWarning, match="count as not measured") as caught:
            job(payload)
        assert len([item for item in caught if "measured" in str(item.message)]) == 2
    for job, payload in payloads(faulty, tmp_path / "as it is", trained.output_dir, cpu, clean="hits"):
        with pytest.warns(ScanWarning, match=r"faulty\.npz") as caught:
            outcome = job(payload)
        # The verdict repeats it, after a sentence of its own.
        told = [str(item.message) for item in caught if str(item.message).startswith("faulty.npz")]
        assert sum("nothing was done" in message for message in told) == 1
        if job is prepare_training:
            scan = outcome.scans[0]
            assert scan.bad_pixels is None
            assert np.argwhere(~scan.measured(scan.diffraction)).tolist() == [[5, 3, 3]]


def test_every_job_refuses_faults_when_strict(faulty, tmp_path, trained, cpu):
    for job, payload in payloads(faulty, tmp_path, trained.output_dir, cpu, strict=True):
        with pytest.warns(ScanWarning, match="measured"), pytest.raises(DataError) as refused:
            job(payload)
        assert len(refused.value.problems) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faulty.npz"]


def test_names_of_what_is_cleaned():
    assert cleaning_of("auto") is None
    assert cleaning_of("off") == ()
    assert cleaning_of("gaps, hits") == ("gaps", "hits")
    assert cleaning_of(",".join(CLEANING)) == CLEANING
    with pytest.raises(ConfigError) as refused:
        cleaning_of("gapps")
    assert [problem.field for problem in refused.value.problems] == ["clean"]
