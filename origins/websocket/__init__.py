"""WebSocket as a server speaks it: the handshake's answer, and the carriage of plain bytes."""

from __future__ import annotations

from pyconnector.origins.websocket.carriage import FrameReader, FrameWriter, WebSocketTunnel
from pyconnector.origins.websocket.handshake import accept

__all__ = ["FrameReader", "FrameWriter", "WebSocketTunnel", "accept"]
