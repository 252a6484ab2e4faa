"""Visitors over HTTP/2 (RFC 9113) with prior knowledge: what gRPC clients speak."""

from pyconnector.edge.visitors.http2.connection import Http2Visitor

__all__ = ["Http2Visitor"]
