"""The one error that parsing a peer's bytes may raise.

ProtocolError   the bytes can never become a legal value   (caught by whoever serves that stream or connection)
"""

from __future__ import annotations


class ProtocolError(Exception):
    """A peer sent what the protocol does not allow. The text is one sentence and never holds a header's value."""
