"""A real gRPC server of bytes, without generated code, and what it noticed of its callers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "/tests.Echo/"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class EchoService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """One method of each kind; `arrived` is set by a call of `wait`, `left` when a caller of it or `tick` is gone."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.left = threading.Event()
        self.metadata: dict[str, str | bytes] = {}
        self.authority = ""
        self.remaining: float | None = None

    def service(self, details: Any) -> Any:
        name = details.method.removeprefix(SERVICE)
        kinds = {
            "unary": grpc.unary_unary_rpc_method_handler,
            "fail": grpc.unary_unary_rpc_method_handler,
            "wait": grpc.unary_unary_rpc_method_handler,
            "count": grpc.unary_stream_rpc_method_handler,
            "fail_late": grpc.unary_stream_rpc_method_handler,
            "tick": grpc.unary_stream_rpc_method_handler,
            "join": grpc.stream_unary_rpc_method_handler,
            "talk": grpc.stream_stream_rpc_method_handler,
        }
        return kinds[name](getattr(self, "_" + name)) if name in kinds else None

    def _unary(self, request: bytes, context: Any) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-initial", "here"),))
        context.set_trailing_metadata((("x-trailing", "there"), ("x-trailing-bin", b"\0\xff")))
        return request[::-1]

    def _fail(self, request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05details"), ("x-why", "because")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100% ä")
        raise AssertionError("abort returns nowhere")

    def _fail_late(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"something"
        context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")

    def _wait(self, request: bytes, context: Any) -> bytes:
        self.remaining = context.time_remaining()
        self.arrived.set()
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)
        self.left.set()
        return b""

    def _tick(self, request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(self.left.set)
        while context.is_active():
            yield b"tick"
            time.sleep(0.01)

    def _count(self, request: bytes, context: Any) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def _join(self, requests: Iterator[bytes], context: Any) -> bytes:
        return b",".join(requests)

    def _talk(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()


@contextlib.contextmanager
def grpc_server(service: EchoService, *, pem: bytes | None = None) -> Iterator[int]:
    """Serve on loopback for the block, over TLS with the key and certificate in `pem`; yields the port."""
    server = grpc.server(
        ThreadPoolExecutor(16, thread_name_prefix="grpc service"), handlers=(service,), options=OPTIONS
    )
    if pem is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
