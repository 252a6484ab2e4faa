"""Field sections as they are compressed (RFC 9204), without a dynamic table: nobody waits for another stream, and no
section becomes much larger than it came. The QPACK library does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pylsqpack

from pyconnector.web.http3.frames import ErrorCode, Http3Error

if TYPE_CHECKING:
    from collections.abc import Sequence

    Fields = list[tuple[bytes, bytes]]

#: Bytes of a section once it is decoded, each field counted with 32 more (RFC 9114 4.2.2).
MAX_FIELDS: Final = 64 * 1024
_OVERHEAD: Final = 32


class FieldSections:
    """Both directions of one connection."""

    __slots__ = ("_decoder", "_encoder")

    def __init__(self) -> None:
        self._decoder = pylsqpack.Decoder(0, 0)
        self._encoder = pylsqpack.Encoder()

    def encode(self, stream_id: int, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the section of a stream."""
        return self._encoder.encode(stream_id, list(fields))[1]

    def decode(self, stream_id: int, section: bytes) -> Fields:
        """Return the fields of a stream's section.

        Raises:
            Http3Error: it is none, refers to a dynamic table, or holds more than `MAX_FIELDS` bytes.
        """
        try:
            fields = self._decoder.feed_header(stream_id, section)[1]
        except (pylsqpack.DecompressionFailed, pylsqpack.StreamBlocked):
            raise Http3Error(ErrorCode.QPACK_DECOMPRESSION_FAILED, "a field section cannot be decoded") from None
        if sum(len(name) + len(value) + _OVERHEAD for name, value in fields) > MAX_FIELDS:
            raise Http3Error(ErrorCode.EXCESSIVE_LOAD, f"a field section is beyond {MAX_FIELDS} bytes")
        return fields

    def take_encoder(self, data: bytes) -> None:
        """Take instructions of the peer's encoder.

        Raises:
            Http3Error: they want a dynamic table.
        """
        try:
            self._decoder.feed_encoder(data)
        except pylsqpack.EncoderStreamError:
            raise Http3Error(ErrorCode.QPACK_ENCODER_STREAM_ERROR, "there is no dynamic table to fill") from None

    def take_decoder(self, data: bytes) -> None:
        """Take instructions of the peer's decoder.

        Raises:
            Http3Error: they are none.
        """
        try:
            self._encoder.feed_decoder(data)
        except pylsqpack.DecoderStreamError:
            raise Http3Error(ErrorCode.QPACK_DECODER_STREAM_ERROR, "there is no dynamic table to acknowledge") from None
