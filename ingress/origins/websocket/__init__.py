"""WebSocket as a server speaks it: frames, the handshake's answer, and the carriage of plain bytes."""

from __future__ import annotations

from .carriage import FrameReader, FrameWriter, WebSocketTunnel
from .handshake import accept, accept_value

__all__ = ["FrameReader", "FrameWriter", "WebSocketTunnel", "accept", "accept_value"]
