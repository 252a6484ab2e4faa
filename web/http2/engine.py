"""The h2 library as visitors and services need it: a life after GOAWAY, streams counted without a walk over all of
them, and field sections that it decodes but does not judge, because what it finds wrong ends the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from hpack import Decoder, HeaderTuple, HPACKDecodingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.events import Event


#: Streams of h2 between two sweeps of those that are over, beside twice those that were left by the last.
SWEEP_AFTER = 64


class Engine(H2Connection):
    """The library takes a GOAWAY for the end of everything; streams under way go on (RFC 9113 6.8)."""

    #: Streams whose end is remembered, so that what is still on its way for them is no fault.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self, *, client: bool, max_decoded: int) -> None:
        """`max_decoded` bounds a field section, in bytes as RFC 9113 6.5.2 counts them; more ends the connection."""
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.state_machine = _LastingStates()
        self.sections = _Sections(max_decoded, statuses=client)
        self.decoder = self.sections
        self._sweep_at = SWEEP_AFTER

    def clear_outbound_data_buffer(self) -> None:
        """Keep what is to be sent: called where a GOAWAY arrives."""

    @property
    def open_inbound_streams(self) -> int:
        """How many streams of the peer are open, or a number that is higher and yet within the limit."""
        if self._need_not_count(self.local_settings.max_concurrent_streams):
            return len(self.streams)
        return self.count_inbound_streams()

    def count_inbound_streams(self) -> int:
        """Return how many streams of the peer are open, from a walk over all that are remembered."""
        count = super().open_inbound_streams
        self._sweep_at = 2 * len(self.streams) + SWEEP_AFTER
        return count

    @property
    def open_outbound_streams(self) -> int:
        """How many streams of this side are open, or a number that is higher and yet within the limit."""
        if self._need_not_count(self.remote_settings.max_concurrent_streams):
            return len(self.streams)
        count = super().open_outbound_streams
        self._sweep_at = 2 * len(self.streams) + SWEEP_AFTER
        return count

    def _need_not_count(self, limit: int) -> bool:
        # The library walks over all streams for every new one, to count them and to drop those that are over.
        return len(self.streams) < min(self._sweep_at, limit)


class _Sections(Decoder):
    """Decodes field sections for us. The library gets none of the fields, so that it finds nothing wrong with them; but
    for the status of an answer, by which it knows interim ones.
    """

    def __init__(self, max_decoded: int, *, statuses: bool) -> None:
        super().__init__(max_header_list_size=max_decoded)
        self._statuses = statuses
        self._last: list[tuple[bytes, bytes]] | None = None

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Decode a block, as the library asks for; keep what is in it.

        Raises:
            HPACKDecodingError: it is none, or begins with more changes of the table's size than make sense.
        """
        if _begins_with_resizing(data):
            raise HPACKDecodingError("the size of the table changes more than twice")
        self._last = [(bytes(name), bytes(value)) for name, value in super().decode(data, raw=True)]
        if self._statuses and self._last and self._last[0][0] == b":status":
            return (HeaderTuple(*self._last[0]),)
        return ()

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return the fields of the last section, once."""
        taken, self._last = self._last, None
        return taken or []

    @property
    def has_one(self) -> bool:
        """Whether a section was decoded that nobody took yet."""
        return self._last is not None


def _begins_with_resizing(block: bytes) -> bool:
    """Whether a block changes the size of the table more than twice (RFC 7541 4.2): thousands would fit into one."""
    at = changes = 0
    while at < len(block) and block[at] & 0xE0 == 0x20 and changes <= 2:
        changes += 1
        if block[at] & 0x1F == 0x1F:
            while at + 1 < len(block) and block[at + 1] & 0x80 and at < 64:
                at += 1
            at += 1
        at += 1
    return changes > 2


class _LastingStates(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)
