"""An HTTP/2 connection that outlives GOAWAY: streams under way go on to their end (RFC 9113 6.8).

The h2 library takes a GOAWAY for the end of everything and refuses whatever comes after it. A service that shuts down
gracefully, as every gRPC server does when its connections grow old, sends it first and the rest of its answers then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine

if TYPE_CHECKING:
    from h2.config import H2Configuration
    from h2.events import Event


class LastingConnection(H2Connection):
    """`ConnectionTerminated` says that a GOAWAY came; what to do then is up to its owner."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.state_machine = _LastingStates()

    def clear_outbound_data_buffer(self) -> None:
        """Keep what is to be sent: called where a GOAWAY arrives."""


class _LastingStates(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)
