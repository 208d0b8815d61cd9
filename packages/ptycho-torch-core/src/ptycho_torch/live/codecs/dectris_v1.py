"""Stream of DECTRIS detectors, version 1: messages of several parts, headers in JSON and data in bytes.

The parts are those of the public description of the SIMPLON interface. Shapes name the width first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.live.codecs.malformed import Malformed, checked_shape, json_object, whole_number
from ptycho_torch.live.codecs.packing import Packer, array_from, unpacked
from ptycho_torch.live.codecs.series import SeriesEnd, SeriesImage, SeriesMessage, SeriesStart, centre_of
from ptycho_torch.live.messages import Start, facts

__all__ = ["decode", "encode_end", "encode_image", "encode_start"]

_START, _IMAGE, _DATA, _TIMES, _END = (
    "dheader-1.0",
    "dimage-1.0",
    "dimage_d-1.0",
    "dconfig-1.0",
    "dseries_end-1.0",
)
_MASK = "dpixelmask-1.0"
_NAMES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
_ENCODING = re.compile(r"(?:(?:bs(?P<bits>8|16|32|64)-)?(?P<lz4>lz4))?(?P<order>[<>])")
_MOST_PARTS = 32


def decode(parts: Sequence[bytes]) -> SeriesMessage:
    """What the parts of a message say.

    Raises
    ------
    Malformed
        They cannot be used.
    """
    if not 0 < len(parts) <= _MOST_PARTS:
        raise Malformed("a message of another number of parts than any")
    header = json_object(parts[0])
    kind = header.get("htype")
    if kind not in (_START, _IMAGE, _END):
        raise Malformed("a message that is neither start, image nor end")
    series = whole_number(header.get("series"))
    if series is None:
        raise Malformed("a series without a number", frames=int(kind == _IMAGE))
    if kind == _START:
        return SeriesStart(series=series, start=_start(parts[1:]))
    if kind == _END:
        return SeriesEnd(series=series)
    try:
        return _image(series, header, parts)
    except Malformed as error:
        raise Malformed(error.why, frames=1) from error


def _start(parts: Sequence[bytes]) -> Start:
    """The configuration, and the mask where the detector was told to send everything."""
    config = json_object(parts[0]) if parts else {}
    stated = {
        "photon_energy_eV": config.get("photon_energy"),
        "detector_object_distance_m": config.get("detector_distance"),
        "detector_pixel_height_m": config.get("y_pixel_size"),
        "detector_pixel_width_m": config.get("x_pixel_size"),
        "saturation_counts": config.get("countrate_correction_count_cutoff"),
    }
    images, triggers = whole_number(config.get("nimages")), whole_number(config.get("ntrigger", 1))
    return Start(
        metadata=facts(stated),
        bad_pixels=_mask(parts[1:]),
        centre=centre_of(config.get("beam_center_y"), config.get("beam_center_x")),
        n_frames=(images or 0) * (triggers or 0) or None,
    )


def _mask(parts: Sequence[bytes]) -> npt.NDArray[np.bool_] | None:
    """The mask among pairs of a header and its data."""
    for first, data in zip(parts[::2], parts[1::2], strict=False):
        header = json_object(first)
        if header.get("htype") == _MASK:
            shape, dtype = _shape_and_dtype(header, "<")
            return array_from(data, shape, dtype) != 0
    return None


def _image(series: int, header: Mapping[str, Any], parts: Sequence[bytes]) -> SeriesImage:
    number = whole_number(header.get("frame"))
    if number is None:
        raise Malformed("an image without a number")
    if len(parts) < 3:
        raise Malformed("an image without data")
    described = json_object(parts[1])
    if described.get("htype") != _DATA:
        raise Malformed("an image without a description of its data")
    encoding = described.get("encoding")
    found = _ENCODING.fullmatch(encoding) if isinstance(encoding, str) else None
    if found is None:
        raise Malformed("frames packed in a way that is not known")
    shape, dtype = _shape_and_dtype(described, found["order"])
    data = parts[2]
    if found["lz4"]:
        is_shuffled = found["bits"] is not None
        if is_shuffled and int(found["bits"]) != 8 * dtype.itemsize:
            raise Malformed("bits that were shuffled for pixels of another size")
        size = shape[0] * shape[1] * dtype.itemsize
        data = unpacked(data, "bslz4" if is_shuffled else "lz4", size, dtype.itemsize, framed=is_shuffled)
    return SeriesImage(series=series, number=number, frame=array_from(data, shape, dtype))


def _shape_and_dtype(described: Mapping[str, Any], order: str) -> tuple[tuple[int, int], np.dtype[Any]]:
    name = described.get("type")
    if name not in _NAMES:
        raise Malformed("an array of a kind that is not known")
    dtype = np.dtype(name).newbyteorder(order)
    sides = described.get("shape")
    if not isinstance(sides, list):
        raise Malformed("an array without height and width")
    # A third side of one is the only channel.
    return checked_shape(sides[1::-1] if sides[2:] in ([], [1]) else sides, dtype.itemsize), dtype


def encode_start(series: int, start: Start, shape: tuple[int, int], dtype: np.dtype[Any]) -> list[bytes]:
    """Parts of the message that begins a series.

    Parameters
    ----------
    series
        Its number.
    start
        What is known of the scan; its metadata, mask, centre and number of frames are sent.
    shape, dtype
        Of the frames.
    """
    known = start.metadata
    row, column = start.centre or (None, None)
    config = {
        "bit_depth_image": 8 * dtype.itemsize,
        "x_pixels_in_detector": shape[1],
        "y_pixels_in_detector": shape[0],
        "nimages": start.n_frames,
        "ntrigger": 1,
        "photon_energy": known.get("photon_energy_eV"),
        "detector_distance": known.get("detector_object_distance_m"),
        "y_pixel_size": known.get("detector_pixel_height_m"),
        "x_pixel_size": known.get("detector_pixel_width_m"),
        "countrate_correction_count_cutoff": known.get("saturation_counts"),
        "beam_center_y": row,
        "beam_center_x": column,
    }
    parts: list[Any] = [
        {"htype": _START, "series": series, "header_detail": "basic" if start.bad_pixels is None else "all"},
        {name: value for name, value in config.items() if value is not None},
    ]
    if start.bad_pixels is not None:
        mask = start.bad_pixels.astype("<u4")
        parts += [{"htype": _MASK, "shape": list(mask.shape[::-1]), "type": "uint32"}, mask.tobytes()]
    return [_part(part) for part in parts]


def encode_image(series: int, number: int, frame: npt.NDArray[Any], packer: Packer) -> list[bytes]:
    """Parts of the message of one image ``(height, width)``.

    Parameters
    ----------
    series, number
        Which image of which series.
    frame
        Counts.
    packer
        Makes bare LZ4, or shuffled LZ4 with its header.
    """
    data = packer(frame)
    bits = 8 * frame.dtype.itemsize
    encoding = {"none": "<", "lz4": "lz4<", "bslz4": f"bs{bits}-lz4<"}[packer.algorithm]
    described = {
        "htype": _DATA,
        "shape": list(frame.shape[::-1]),
        "type": frame.dtype.newbyteorder("=").name,
        "encoding": encoding,
        "size": len(data),
    }
    times = {"htype": _TIMES, "start_time": 0, "stop_time": 0, "real_time": 0}
    parts: list[Any] = [
        {"htype": _IMAGE, "series": series, "frame": number, "hash": ""},
        described,
        data,
        times,
    ]
    return [_part(part) for part in parts]


def encode_end(series: int) -> list[bytes]:
    """Parts of the message that ends a series."""
    return [_part({"htype": _END, "series": series})]


def _part(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode("ascii")
