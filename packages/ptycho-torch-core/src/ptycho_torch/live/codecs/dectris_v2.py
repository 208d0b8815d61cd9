"""Stream of DECTRIS detectors, version 2: each message is one map in CBOR.

Arrays are multi-dimensional ones (tag 40) of typed ones (RFC 8746), whose bytes may be packed (tag 56500).
Fields and tags are those of the public documentation of DECTRIS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt

from ptycho_torch.live.codecs.malformed import Malformed, checked_shape, whole_number
from ptycho_torch.live.codecs.packing import Packer, array_from, unpacked
from ptycho_torch.live.codecs.series import (
    SeriesEnd,
    SeriesImage,
    SeriesMessage,
    SeriesStart,
    centre_of,
    distance_of,
)
from ptycho_torch.live.messages import Start, facts

__all__ = ["decode", "encode_end", "encode_image", "encode_start"]

_ARRAY, _PACKED = 40, 56500
_DEEPEST = 32
_CHANNEL = "threshold_1"

_TYPES = {
    **{64: "<u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "<u1", 69: "<u2", 70: "<u4", 71: "<u8"},
    **{72: "<i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8"},
    **{80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8"},
}
"""Typed arrays of RFC 8746."""

_TAGS = {np.dtype(name): tag for tag, name in _TYPES.items() if tag != 68}


def _content(value: Any, _immutable: bool) -> Any:
    return value


# A decoder would make dates, patterns, mails and references of these. Nothing here needs any of them, and a
# pattern or a very large fraction takes a long time to make.
_UNTAGGED = dict.fromkeys(
    (0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000), _content
)


def decode(message: bytes) -> SeriesMessage:
    """What a message says.

    Raises
    ------
    Malformed
        It cannot be used.
    """
    try:
        fields = cbor2.loads(message, semantic_decoders=_UNTAGGED, max_depth=_DEEPEST)
    except (
        cbor2.CBORDecodeError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise Malformed("a message that is no CBOR") from error
    kind = fields.get("type") if isinstance(fields, Mapping) else None
    if kind not in ("start", "image", "end"):
        raise Malformed("a message that is neither start, image nor end")
    series = whole_number(fields.get("series_id", 0))
    if series is None:
        raise Malformed("a series without a number", frames=int(kind == "image"))
    if kind == "start":
        return SeriesStart(series=series, start=_start(fields))
    if kind == "end":
        return SeriesEnd(series=series)
    try:
        return _image(series, fields)
    except Malformed as error:
        raise Malformed(error.why, frames=1) from error


def _start(fields: Mapping[str, Any]) -> Start:
    stated = {
        "photon_energy_eV": fields.get("incident_energy"),
        "detector_object_distance_m": distance_of(fields.get("detector_translation")),
        "detector_pixel_height_m": fields.get("pixel_size_y"),
        "detector_pixel_width_m": fields.get("pixel_size_x"),
        "saturation_counts": fields.get("saturation_value"),
    }
    masks = fields.get("pixel_mask")
    mask = _channel(masks) if isinstance(masks, Mapping) and masks else None
    return Start(
        metadata=facts(stated),
        bad_pixels=None if mask is None else _array(mask) != 0,
        centre=centre_of(fields.get("beam_center_y"), fields.get("beam_center_x")),
        n_frames=whole_number(fields.get("number_of_images")) or None,
    )


def _image(series: int, fields: Mapping[str, Any]) -> SeriesImage:
    number = whole_number(fields.get("image_id"))
    if number is None:
        raise Malformed("an image without a number")
    channels = fields.get("data")
    if not isinstance(channels, Mapping) or not channels:
        raise Malformed("an image without data")
    return SeriesImage(series=series, number=number, frame=_array(_channel(channels)))


def _channel(channels: Mapping[Any, Any]) -> Any:
    """The lowest threshold, which counts every photon; the first channel where none has that name."""
    return channels[_CHANNEL] if _CHANNEL in channels else next(iter(channels.values()))


def _array(value: Any) -> npt.NDArray[Any]:
    """A multi-dimensional array of typed ones, which may be packed."""
    dimensions, content = _pair(value.value) if _is_tag(value, _ARRAY) else (None, None)
    if not isinstance(content, cbor2.CBORTag) or content.tag not in _TYPES:
        raise Malformed("an array of a kind that is not known")
    dtype = np.dtype(_TYPES[content.tag])
    shape = checked_shape(dimensions, dtype.itemsize)
    data = content.value
    if _is_tag(data, _PACKED):
        data = _unpacked(data.value, shape[0] * shape[1] * dtype.itemsize, dtype.itemsize)
    if not isinstance(data, bytes):
        raise Malformed("an array without bytes")
    return array_from(data, shape, dtype)


def _unpacked(packed: Any, n_bytes: int, itemsize: int) -> bytes:
    if not isinstance(packed, Sequence) or len(packed) != 3:
        raise Malformed("packed bytes without their algorithm")
    algorithm, modifier, data = packed
    if not isinstance(algorithm, str) or not isinstance(data, bytes):
        raise Malformed("packed bytes without their algorithm")
    if algorithm == "bslz4" and modifier != itemsize:
        raise Malformed("bits that were shuffled for pixels of another size")
    return unpacked(data, algorithm, n_bytes, itemsize)


def _is_tag(value: Any, tag: int) -> bool:
    return isinstance(value, cbor2.CBORTag) and value.tag == tag


def _pair(value: Any) -> tuple[Any, Any]:
    is_pair = isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == 2
    return (value[0], value[1]) if is_pair else (None, None)


def encode_start(series: int, start: Start, shape: tuple[int, int], dtype: np.dtype[Any]) -> bytes:
    """Message that begins a series.

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
    fields: dict[str, Any] = {
        "type": "start",
        "series_id": series,
        "series_unique_id": f"series-{series}",
        "channels": [_CHANNEL],
        "image_dtype": dtype.newbyteorder("=").name,
        "image_size_y": shape[0],
        "image_size_x": shape[1],
        "number_of_images": start.n_frames,
        "incident_energy": known.get("photon_energy_eV"),
        "pixel_size_y": known.get("detector_pixel_height_m"),
        "pixel_size_x": known.get("detector_pixel_width_m"),
        "saturation_value": known.get("saturation_counts"),
    }
    distance = known.get("detector_object_distance_m")
    if distance is not None:
        fields["detector_translation"] = [0.0, 0.0, float(distance)]
    if start.centre is not None:
        fields["beam_center_y"], fields["beam_center_x"] = (float(value) for value in start.centre)
    if start.bad_pixels is not None:
        mask = start.bad_pixels.astype("<u4")
        fields["pixel_mask"] = {_CHANNEL: _tagged(mask, Packer("none"))}
        fields["pixel_mask_enabled"] = True
    return cbor2.dumps({name: value for name, value in fields.items() if value is not None})


def encode_image(series: int, number: int, frame: npt.NDArray[Any], packer: Packer) -> bytes:
    """Message of one image ``(height, width)``."""
    data = {_CHANNEL: _tagged(frame, packer)}
    fields = {"series_unique_id": f"series-{series}", "image_id": number, "data": data}
    return cbor2.dumps({"type": "image", "series_id": series, **fields})


def encode_end(series: int) -> bytes:
    """Message that ends a series."""
    return cbor2.dumps({"type": "end", "series_id": series, "series_unique_id": f"series-{series}"})


def _tagged(array: npt.NDArray[Any], packer: Packer) -> cbor2.CBORTag:
    dtype = array.dtype.newbyteorder("<")
    data: Any = packer(array)
    if packer.algorithm != "none":
        size = dtype.itemsize if packer.algorithm == "bslz4" else 0
        data = cbor2.CBORTag(_PACKED, [packer.algorithm, size, data])
    return cbor2.CBORTag(_ARRAY, [list(array.shape), cbor2.CBORTag(_TAGS[np.dtype(dtype)], data)])
