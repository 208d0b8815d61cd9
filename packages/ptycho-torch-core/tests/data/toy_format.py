"""A format of a user's own: a mark, and a NumPy archive behind it."""

from io import BytesIO
from pathlib import Path

import numpy as np

from ptycho_torch.atomic import atomic_write
from ptycho_torch.data.scan import Located, ScanHeader, assemble_scan, example_scan
from ptycho_torch.data.scan.memory import contract_arrays
from ptycho_torch.errors import DataError

NAME = "toy"
HELP = "a mark and a NumPy archive; positions in object pixels"
SUFFIXES = (".toy",)
TARGETS = (".toy",)

MARK = b"TOYSCAN1"


def recognise(candidate):
    if candidate.start.startswith(MARK):
        return Located(NAME, (candidate.path,))
    return f"no mark {MARK.decode()} at the start"


def _arrays(located):
    content = located.frames.read_bytes()[len(MARK) :]
    try:
        with np.load(BytesIO(content)) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise DataError(f"the archive behind the mark is damaged ({error})", located.frames) from error


def header(located):
    arrays = _arrays(located)
    frames = arrays["diff3d"]
    return ScanHeader(n_frames=len(frames), N=frames.shape[1], probe_size=arrays["probeGuess"].shape[-1])


def read(located, *, measurement_domain="auto", N=None, progress=None):
    return assemble_scan(
        _arrays(located),
        measurement_domain=measurement_domain,
        N=N,
        source=located.frames,
        progress=progress,
    )


def write(path, scan, *, progress=None):
    content = BytesIO()
    np.savez(content, **contract_arrays(scan))
    with atomic_write(path) as stream:
        stream.write(MARK + content.getvalue())


def make_example(path: Path):
    write(path, example_scan())
