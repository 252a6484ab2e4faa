"""The one door from the engines to this room, opened lazily so that importing the algorithm imports no QUIC library."""

from __future__ import annotations

#: The name under which aioquic's configuration selects BBR (`congestion_control_algorithm`).
BBR = "bbr"


def register() -> None:
    """Make "bbr" known to aioquic. Idempotent; `attach` then completes each connection."""
    from pyconnector.transport.quic.aioquic_engine.bbr import register as register_with_aioquic

    register_with_aioquic()
