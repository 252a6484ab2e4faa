"""Data streams: how they begin, ConnectRequest and ConnectResponse, trailers."""
