"""A local edge: accepts connectors over QUIC, serves visitors over HTTP/1.1 and TCP, and plays tricks on request."""
