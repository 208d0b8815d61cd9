"""Names of the CXI standard below one entry of a file, and which entry of several is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ptycho_torch.data.recognition import Candidate
from ptycho_torch.errors import DataError, fault

__all__ = ["CXINames", "entries_with_frames", "entry_of"]

_ENTRY = re.compile(r"entry(_\d+)?")


@dataclass(frozen=True)
class CXINames:
    """Where the standard puts what.

    Attributes
    ----------
    entry
        Name of the entry, ``entry_1`` in a file with one scan.
    instrument, detector_name, source_name, beam_name, monochromator_name, sample
        Names of the groups; others than those of the standard where NeXus says so.
    signal
        Path of the frames where they are elsewhere; empty: nowhere else.
    """

    entry: str = "entry_1"
    instrument: str = "instrument_1"
    detector_name: str = "detector_1"
    source_name: str = "source_1"
    beam_name: str = "beam_1"
    monochromator_name: str = "monochromator_1"
    sample: str = "sample_1"
    signal: str = ""

    @property
    def detector(self) -> str:
        """Group of the detector."""
        return f"{self.entry}/{self.instrument}/{self.detector_name}"

    @property
    def source(self) -> str:
        """Group of the source."""
        return f"{self.entry}/{self.instrument}/{self.source_name}"

    @property
    def beam(self) -> str:
        """Group of the beam, which NeXus tells from the source."""
        return f"{self.entry}/{self.instrument}/{self.beam_name}"

    @property
    def extra(self) -> str:
        """Group of ptychodus."""
        return f"{self.entry}/ptychodus"

    @property
    def monochromator(self) -> str:
        """Group of the monochromator."""
        return f"{self.entry}/{self.instrument}/{self.monochromator_name}"

    @property
    def frames(self) -> tuple[str, ...]:
        """Frames."""
        usual = (f"{self.entry}/data_1/data", f"{self.detector}/data")
        return (*usual, self.signal) if self.signal else usual

    @property
    def positions(self) -> tuple[str, str, str]:
        """Positions."""
        sample = f"{self.entry}/{self.sample}/geometry_1/translation"
        return sample, f"{self.entry}/data_1/translation", f"{self.detector}/translation"

    @property
    def probe(self) -> tuple[str, str]:
        """Probe."""
        return f"{self.entry}/image_1/data", f"{self.source}/illumination"

    @property
    def object(self) -> str:
        """Object."""
        return f"{self.entry}/image_2/data"

    @property
    def energies(self) -> tuple[str, ...]:
        """Energies; that of the source may be that of the electrons of a storage ring."""
        beam = (f"{self.beam}/incident_beam_energy", f"{self.beam}/incident_energy", f"{self.beam}/energy")
        return *beam, f"{self.monochromator}/energy", f"{self.source}/energy"

    @property
    def wavelengths(self) -> tuple[str, ...]:
        """Wavelengths."""
        beam = (f"{self.beam}/incident_wavelength", f"{self.beam}/wavelength")
        return *beam, f"{self.monochromator}/wavelength", f"{self.source}/wavelength"

    def of_contract(self) -> dict[str, str]:
        """Name in the data contract to name in the file."""
        return {
            "diff3d": self.signal or self.frames[0],
            "xcoords": f"{self.positions[0]} x",
            "ycoords": f"{self.positions[0]} y",
            "probeGuess": self.probe[0],
            "objectGuess": self.object,
            "bad_pixels": f"{self.detector}/mask",
        }


def entries_with_frames(candidate: Candidate) -> list[str]:
    """Entries of a file that have frames, in the order of their numbers."""
    named = [name for name in candidate.hdf5_names() if _ENTRY.fullmatch(name)]
    named.sort(key=lambda name: int(name.partition("_")[2] or 0))
    return [name for name in named if any(candidate.holds(frames) for frames in CXINames(name).frames)]


def entry_of(candidate: Candidate) -> str | None:
    """The entry that is meant: the one that the path names, else the only one with frames, else the first.

    None: the path names something in the file that is no entry, such as a dataset.

    Raises
    ------
    DataError
        Several entries have frames and the path names none of them, or an entry that has none.
    """
    found = entries_with_frames(candidate)
    listed = ", ".join(found) or "none"
    if candidate.inside in found:
        return candidate.inside
    if candidate.inside and not _ENTRY.fullmatch(candidate.inside):
        return None
    if candidate.inside:
        raise DataError(
            fault(candidate.inside, f"no entry with frames; those with frames: {listed}"), candidate.path
        )
    if len(found) > 1:
        raise DataError(
            f"{len(found)} scans in one file, {listed}; name one as {candidate.path.name}:/{found[0]}",
            candidate.path,
        )
    return found[0] if found else "entry_1"
