"""What every HTTP end here needs, pure: WebSocket frames, host:port, header names, public authorities of the edge."""
