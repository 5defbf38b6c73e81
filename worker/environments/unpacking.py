"""A Linux kernel, unpacked beforehand: an emulated processor takes long for that."""

from __future__ import annotations

import struct

_MAGIC = b"\x02\x21\x4c\x18"


def unpacked(image: bytes) -> bytes:
    """The ELF file within a bzImage that is packed with LZ4; else ``image`` itself."""
    if image[0x202:0x206] != b"HdrS":
        return image
    start = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    packed = image[start + offset : start + offset + length]
    if packed[:4] != _MAGIC:
        return image
    found = _blocks(packed)
    return found if found[:4] == b"\x7fELF" else image


def _blocks(packed: bytes) -> bytes:
    """All blocks of LZ4's older format, as the kernel's makefile writes it."""
    parts, place = [], len(_MAGIC)
    while place + 4 <= len(packed):
        (size,) = struct.unpack_from("<I", packed, place)
        place += 4
        if size == 0 or place + size > len(packed):
            break
        parts.append(_block(packed[place : place + size]))
        place += size
    return b"".join(parts)


def _block(packed: bytes) -> bytes:
    out, place = bytearray(), 0
    while True:
        token = packed[place]
        literal, place = _length(packed, place + 1, token >> 4)
        out += packed[place : place + literal]
        place += literal
        if place >= len(packed):
            return bytes(out)
        distance = packed[place] | packed[place + 1] << 8
        match, place = _length(packed, place + 2, token & 15)
        match += 4
        begin = len(out) - distance
        if distance >= match:
            out += out[begin : begin + match]
        else:
            # It overlaps with itself: a pattern that repeats.
            out += (bytes(out[begin:]) * (match // distance + 1))[:match]


def _length(packed: bytes, place: int, short: int) -> tuple[int, int]:
    """A length of which four bits were known, and the place after it."""
    if short < 15:
        return short, place
    while True:
        byte = packed[place]
        place += 1
        short += byte
        if byte != 255:
            return short, place
