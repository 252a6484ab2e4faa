"""WebSocket as a server speaks it: frames, the handshake's answer, and the carriage of plain bytes."""

from __future__ import annotations

from pyconnector.origins.websocket.carriage import FrameReader, FrameWriter, WebSocketTunnel
from pyconnector.origins.websocket.handshake import accept, accept_value

__all__ = ["FrameReader", "FrameWriter", "WebSocketTunnel", "accept", "accept_value"]
