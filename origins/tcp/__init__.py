"""TCP services: by hostname over WebSocket, through SOCKS or a bastion, or by private address."""
