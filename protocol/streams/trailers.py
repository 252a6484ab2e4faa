"""Response bodies that end in trailer fields: our own extension between our edge and our connector.

The protocol has no place for trailers (wire.md 7): a body is raw and ends with its stream. Our edge offers to take
them with `TRAILERS_OFFER` in the metadata of a ConnectRequest; a connector that takes the offer answers with the same
entry and then frames the body: one byte of kind, four bytes of length (big-endian), payload; data frames, one frame of
trailers, the end of the stream. The real edge offers nothing, and an edge that offered nothing gets a raw body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.serialized_headers import parse_serialized_headers, serialize_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The entry of both metadata lists. No header can be mistaken for it: theirs have keys of their own (wire.md 6).
TRAILERS_OFFER: Final = (b"Pyconnector-Trailers", b"1")
#: Longest payload of one data frame.
MAX_DATA_BYTES: Final = 1024 * 1024
#: Frames that one call of `FramedBodyDecoder.feed` reads: whatever their size, others get a turn after so many.
FRAMES_AT_ONCE: Final = 64
#: Longest payload of the frame of trailers: base64 of some 48 KiB of fields.
MAX_TRAILER_BYTES: Final = 64 * 1024

_DATA: Final = 0
_TRAILERS: Final = 1
_HEADER_BYTES: Final = 5


def encode_data(piece: bytes) -> bytes:
    """Return `piece` of a body as a frame.

    Raises:
        ProtocolError: it is empty, or longer than `MAX_DATA_BYTES`.
    """
    if not 0 < len(piece) <= MAX_DATA_BYTES:
        raise ProtocolError(f"a piece of {len(piece)} bytes makes no data frame")
    return b"\0" + len(piece).to_bytes(4, "big") + piece


def encode_trailers(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the frame that ends a body, its trailer fields in order; what only edge and connector say is left out.

    Raises:
        ProtocolError: they are too long, a name is no token or a value holds a control character.
    """
    payload = serialize_headers(fields)
    if len(payload) > MAX_TRAILER_BYTES:
        raise ProtocolError(f"trailers of {len(payload)} bytes are beyond the limit of {MAX_TRAILER_BYTES}")
    return b"\1" + len(payload).to_bytes(4, "big") + payload


class FramedBodyDecoder:
    """Turn a framed body back into its bytes and its trailers, whatever the pieces it arrives in.

    Pure, and holds no more than one incomplete frame of trailers: data goes through as it comes. But for bytes beyond
    `FRAMES_AT_ONCE` frames, which wait until it is fed again.
    """

    __slots__ = ("_buffer", "_held", "_over", "_remaining", "_wanted", "leftover", "trailers")

    def __init__(self) -> None:
        self.trailers: list[tuple[bytes, bytes]] | None = None
        "The trailer fields, once the body is whole; None before."
        self.leftover = b""
        "Bytes that arrived after the trailers, where nothing may be."
        self._held = b""  # beyond the frames that one call reads
        self._buffer = bytearray()  # of a frame's header, or of trailers
        self._remaining = 0  # of a data frame's payload
        self._wanted = -1  # length of the trailers under way; -1 before them
        self._over: ProtocolError | None = None

    @property
    def finished(self) -> bool:
        """Whether the body is whole. A stream that ends earlier was cut off."""
        return self.trailers is not None

    @property
    def has_more(self) -> bool:
        """Whether `feed` has read only part of what it was given: feed it again, with nothing new."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes:
        """Absorb `data`; return what of the body is in it, of `FRAMES_AT_ONCE` frames at most. See `has_more`.

        Feeding a finished decoder is a mistake.

        Raises:
            ProtocolError: this is no framed body. Later calls raise it again.
        """
        if self.trailers is not None:
            raise RuntimeError("the body is over")
        if self._over is not None:
            raise self._over
        try:
            return self._feed(data)
        except ProtocolError as error:
            self._over = error
            self._buffer.clear()
            raise

    def _feed(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        if self._held:
            data, self._held = self._held + data, b""
        position = frames = 0
        while True:
            if self._remaining:
                piece = data[position : position + self._remaining]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._remaining -= len(piece)
                if self._remaining:
                    break
                continue
            if frames == FRAMES_AT_ONCE:
                self._held = data[position:]
                break
            missing = (_HEADER_BYTES if self._wanted < 0 else self._wanted) - len(self._buffer)
            taken = data[position : position + missing]
            self._buffer += taken
            position += len(taken)
            if len(taken) < missing:
                break
            if self._wanted >= 0:
                self.trailers = parse_serialized_headers(bytes(self._buffer))
                self._buffer.clear()
                self.leftover = data[position:]
                break
            self._begin_frame()
            frames += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin_frame(self) -> None:
        kind, length = self._buffer[0], int.from_bytes(self._buffer[1:], "big")
        self._buffer.clear()
        if kind == _DATA and 0 < length <= MAX_DATA_BYTES:
            self._remaining = length
        elif kind == _TRAILERS and length <= MAX_TRAILER_BYTES:
            self._wanted = length
        else:
            raise ProtocolError(f"a frame of kind {kind} and {length} bytes has no place in a body")
