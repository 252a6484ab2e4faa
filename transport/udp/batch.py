"""The arithmetic of batched UDP: which datagrams one system call may carry, and how a merged train is cut.

Linux only (udp(7), linux/udp.h); pure, so that `transport.udp.batched` can be tested without its kernel.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

#: Control messages of the UDP level: segment size of a train to send, of a train received.
UDP_SEGMENT, UDP_GRO = 103, 104
#: The kernel's bound on segments in one call (UDP_MAX_SEGMENTS).
MAX_SEGMENTS = 64
#: Bytes in one call: an IP packet holds 65,535 with its headers.
MAX_TRAIN_BYTES = 65_000
#: Segment size of a read that brought one datagram: no train is as large.
RECEIVED_WHOLE = 1 << 16

_INT = struct.Struct("@i")
_UINT16 = struct.Struct("@H")
#: Room for the one control message that a read may bring.
GRO_SPACE: int = socket.CMSG_SPACE(_INT.size) if hasattr(socket, "CMSG_SPACE") else 0


def run_end(datagrams: Sequence[tuple[bytes, object]], start: int) -> int:
    """Return the end of the longest run from `start` that one call may send.

    That is datagrams of one size to one destination; the last may be shorter.
    """
    first, destination = datagrams[start]
    size = len(first)
    if not size:
        return start + 1
    limit = min(len(datagrams), start + min(MAX_SEGMENTS, MAX_TRAIN_BYTES // size))
    end = start + 1
    while end < limit:
        data, other = datagrams[end]
        length = len(data)
        # Identity first: an engine with one peer gives the same tuple every time.
        if length > size or not length or (other is not destination and other != destination):
            break
        end += 1
        if length < size:
            break
    return end


def gso_control(segment: int) -> list[tuple[int, int, bytes]]:
    """Return the control message that makes one call send pieces of `segment` bytes."""
    return [(socket.IPPROTO_UDP, UDP_SEGMENT, _UINT16.pack(segment))]


def received_segment_size(control: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the segment size that a read's control messages tell, else `RECEIVED_WHOLE`."""
    for level, kind, data in control:
        if level == socket.IPPROTO_UDP and kind == UDP_GRO and len(data) >= _INT.size:
            size: int = _INT.unpack_from(data)[0]
            if size > 0:
                return size
    return RECEIVED_WHOLE


def split_segments(train: memoryview, segment: int) -> list[bytes]:
    """Cut a received train into its datagrams; the last may be shorter."""
    return [bytes(train[offset : offset + segment]) for offset in range(0, len(train), segment)]
