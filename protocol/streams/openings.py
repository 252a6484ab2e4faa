"""How a stream opened by the edge begins, and how the connector answers (wire.md 3).

A data stream: signature, two bytes of version, one Cap'n Proto message, then payload. An RPC stream: its signature,
then RPC messages at once. The decoders take bytes in any pieces and keep what follows the opening in `leftover`.
Called by the connector's and the local edge's stream handlers, once per stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Generic, TypeVar

from pyconnector.protocol.capnp_format.framing import Frame, frame_header_bytes, read_frame
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.streams import connect_codec as codec
from pyconnector.protocol.streams.connect import ConnectRequest, ConnectResponse
from pyconnector.protocol.streams.response_head import encode_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.protocol.streams.connect import Metadata

DATA_SIGNATURE = b"\x0a\x36\xcd\x12\xa1\x3e"
RPC_SIGNATURE = b"\x52\xbb\x82\x5c\xdb\x65"
#: Written after the data signature. What a peer writes there is ignored, as the reference does.
VERSION = b"01"

#: Largest Cap'n Proto message that may open a stream. A request's head on the public edge is at most 128 KiB; the
#: reference takes 900 kB.
MAX_OPENING_BYTES = 1_048_576

_PREAMBLE = DATA_SIGNATURE + VERSION
_PREAMBLE_BYTES = len(_PREAMBLE)
_SIGNATURE_BYTES = len(DATA_SIGNATURE)
_TABLE = Struct("<II").unpack_from


@dataclass(frozen=True, slots=True)
class RpcOpening:
    """The stream carries RPC: its first message begins in `leftover`."""


_Value = TypeVar("_Value")


class _Decoder(Generic[_Value]):
    """The part that both decoders share: gather the preamble and one message, whatever the pieces."""

    def __init__(self, *, max_bytes: int = MAX_OPENING_BYTES) -> None:
        self.max_bytes = max_bytes
        self.leftover = b""
        "Bytes that arrived after the opening; they belong to the payload."
        self._buffer = bytearray()
        self._needed = 1
        self._over: ProtocolError | None = None
        self._done = False

    def feed(self, data: bytes) -> _Value | None:
        """Absorb `data`; return the opening once it is whole, else None. Feeding a finished decoder is a mistake.

        Raises:
            ProtocolError: this can never become an opening. Later calls raise it again.
        """
        if self._done:
            raise RuntimeError("the opening is over: what follows it is payload")
        if self._over is not None:
            raise self._over
        try:
            if not self._buffer:
                value = self._whole(data)
                if value is not None:
                    self._done = True
                    return value
            return self._pieces(data)
        except ProtocolError as error:
            self._over = error
            self._buffer.clear()
            raise

    def _whole(self, data: bytes) -> _Value | None:
        """The usual case: everything came at once, laid out as usual. No copies but the values'."""
        if len(data) < 24 or not data.startswith(DATA_SIGNATURE):
            return None
        more_segments, words = _TABLE(data, _PREAMBLE_BYTES)
        end = 16 + words * 8
        if more_segments or len(data) < end or end - _PREAMBLE_BYTES > self.max_bytes:
            return None
        value = self._fast(data, 16, end)
        if value is not None:
            self.leftover = data[end:]
        return value

    def _pieces(self, data: bytes) -> _Value | None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= self._needed:
            step = self._advance(buffer)
            if isinstance(step, int):
                self._needed = step
                continue
            value, end = step
            self.leftover = bytes(memoryview(buffer)[end:])
            self._buffer = bytearray()
            self._done = True
            return value
        return None

    def _advance(self, buffer: bytearray) -> int | tuple[_Value, int]:
        """Return how many bytes are needed to know more, or the value and where it ends."""
        have = len(buffer)
        signature = bytes(buffer[:_SIGNATURE_BYTES])
        if not DATA_SIGNATURE.startswith(signature):
            return self._other(signature)
        if have < _PREAMBLE_BYTES + 4:
            return have + 1 if have < _SIGNATURE_BYTES else _PREAMBLE_BYTES + 4
        needed = _PREAMBLE_BYTES + frame_header_bytes(buffer, _PREAMBLE_BYTES)
        if have < needed:
            return needed
        frame = read_frame(buffer, _PREAMBLE_BYTES, self.max_bytes)
        end = _PREAMBLE_BYTES + frame.length
        if have < end:
            return end
        return self._decode(bytes(memoryview(buffer)[:end]), frame, _PREAMBLE_BYTES), end

    def _other(self, signature: bytes) -> int | tuple[_Value, int]:
        """Say what a stream is that begins with something other than the data signature."""
        raise ProtocolError(f"a stream begins with {signature.hex(' ')}, which is no known signature")

    def _fast(self, data: bytes, start: int, end: int) -> _Value | None:
        raise NotImplementedError

    def _decode(self, data: bytes, frame: Frame, start: int) -> _Value:
        raise NotImplementedError


class OpeningDecoder(_Decoder[ConnectRequest | RpcOpening]):
    """Turn the first bytes of a stream that the edge opened into what it declares itself to be.

    Pure: no clock, no socket, no logging. A broken opening is refused as soon as its bytes show it.
    """

    def _other(self, signature: bytes) -> int | tuple[ConnectRequest | RpcOpening, int]:
        if signature == RPC_SIGNATURE:
            return RpcOpening(), _SIGNATURE_BYTES
        if RPC_SIGNATURE.startswith(signature):
            return len(signature) + 1
        return super()._other(signature)

    def _fast(self, data: bytes, start: int, end: int) -> ConnectRequest | None:
        return codec.fast_request(data, start, end)

    def _decode(self, data: bytes, frame: Frame, start: int) -> ConnectRequest:
        return codec.decode_request(data, frame, start)


class ConnectResponseDecoder(_Decoder[ConnectResponse]):
    """Turn the first bytes of the connector's side of a data stream into its answer, for the edge."""

    def _fast(self, data: bytes, start: int, end: int) -> ConnectResponse | None:
        return codec.fast_response(data, start, end)

    def _decode(self, data: bytes, frame: Frame, start: int) -> ConnectResponse:
        return codec.decode_response(data, frame, start)


def encode_connect_request(request: ConnectRequest) -> bytes:
    """Return the opening of a data stream: signature, version and message.

    Raises:
        ProtocolError: it is larger than the connector's decoder takes.
    """
    return _bounded(codec.encode_request(request, _PREAMBLE))


def encode_connect_response(response: ConnectResponse) -> bytes:
    """Return the connector's answer on a data stream: signature, version and message.

    Raises:
        ProtocolError: it is larger than the edge's decoder takes.
    """
    return _bounded(codec.encode_response(response, _PREAMBLE))


def encode_response_head(status: int, fields: Sequence[tuple[bytes, bytes]], extra: Metadata = ()) -> bytes:
    """Return what `encode_connect_response` makes of `response_metadata(status, fields)` and `extra`, in half the time.

    Raises:
        ProtocolError: as both of them.
    """
    return _bounded(encode_head(status, fields, extra, _PREAMBLE))


def _bounded(opening: bytes) -> bytes:
    if len(opening) > MAX_OPENING_BYTES + _PREAMBLE_BYTES:
        raise ProtocolError(f"headers of {len(opening)} bytes are beyond the limit of {MAX_OPENING_BYTES}")
    return opening


def encode_rpc_opening() -> bytes:
    """Return the opening of an RPC stream; RPC messages follow it at once, without a version."""
    return RPC_SIGNATURE
