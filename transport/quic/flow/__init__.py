"""Flow control and stream data of the QUIC engines."""
