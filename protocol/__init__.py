"""Wire formats of the edge protocol as values and codecs: bytes to meaning and back, for either end.

Pure: no sockets, no event loop, no clock. Everything that parses a peer's bytes raises only `ProtocolError`.
Import the module that holds what you need; docs/architecture.md lists them in the order a request meets them.
"""
