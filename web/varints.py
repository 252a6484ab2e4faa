"""Integers of 1, 2, 4 or 8 bytes, as QUIC, HTTP/3 and capsules have them (RFC 9000 16). Pure."""

from __future__ import annotations

from typing import Final

#: Largest integer of that form.
MAX_INTEGER: Final = 2**62 - 1


def encode_integer(value: int) -> bytes:
    """Return an integer in the fewest bytes.

    Raises:
        ValueError: it is negative, or larger than `MAX_INTEGER`.
    """
    for prefix, size in enumerate((1, 2, 4, 8)):
        if 0 <= value < 1 << (8 * size - 2):
            return (value | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(f"{value} is no integer of this form")


def read_integer(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int] | None:
    """Return an integer and where it ends; None where `data` is cut short. Any of the four lengths is taken."""
    if len(data) <= at:
        return None
    size = 1 << (data[at] >> 6)
    if len(data) < at + size:
        return None
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
