"""A gRPC client that knows nothing of tunnels, through edge, QUIC and a rule, to a real gRPC server and back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.houses.house import open_house
from tests.support.identity.certificates import Authority
from tests.support.services.grpc_service import OPTIONS, SERVICE, EchoService, grpc_server

SECONDS = 20.0


class Route:
    """A whole house that runs in a thread of its own, and a channel to its edge."""

    def __init__(self, service: EchoService, rule: dict[str, Any], engine: str) -> None:
        self.service = service
        self._rule = rule
        self._engine = engine
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="house")

    def __enter__(self) -> Route:
        self._thread.start()
        self._ready.wait(30)
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        self.channel = grpc.insecure_channel(
            self.address,
            options=[*OPTIONS, ("grpc.default_authority", "grpc.test"), ("grpc.use_local_subchannel_pool", 1)],
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.channel.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def call(self, kind: str, method: str) -> Any:
        return getattr(self.channel, kind)(SERVICE + method)

    def _run(self) -> None:
        try:
            asyncio.run(self._house())
        except BaseException as failure:  # noqa: BLE001 - told to the thread that waits
            self._failure = failure
        finally:
            self._ready.set()

    async def _house(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with open_house(
            [{"hostname": "grpc.test", **self._rule}, {"service": "http_status:404"}], engine=self._engine
        ) as house:
            self.address = "{}:{}".format(*house.edge.visitor_address)
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(
    scope="module",
    params=[(engine, scheme) for engine in ("aioquic", "qh3", "http2") for scheme in ("h2c", "https")],
    ids=lambda param: "-".join(param),
)
def route(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    engine, scheme = request.param
    if engine == "qh3":
        pytest.importorskip("qh3")
    service = EchoService()
    pem = None
    rule: dict[str, Any] = {}
    if scheme == "https":
        authority = Authority(tmp_path_factory.mktemp("authority"))
        authority.server("127.0.0.1")
        pem = next(authority.directory.glob("server-*.pem")).read_bytes()
        rule["originRequest"] = {"http2Origin": True, "caPool": str(authority.path)}
    with grpc_server(service, pem=pem) as port:
        rule["service"] = f"{scheme}://127.0.0.1:{port}"
        with Route(service, rule, engine) as route:
            yield route


def test_a_unary_call_with_metadata_both_ways(route: Route) -> None:
    answer, call = route.call("unary_unary", "unary").with_call(
        b"abc", timeout=SECONDS, metadata=[("x-asked", "so"), ("x-asked-bin", b"\0\1\xff")]
    )
    assert answer == b"cba"
    assert call.code() is grpc.StatusCode.OK
    assert dict(call.initial_metadata())["x-initial"] == "here"
    assert dict(call.trailing_metadata()) == {"x-trailing": "there", "x-trailing-bin": b"\0\xff"}
    assert route.service.metadata["x-asked"] == "so"
    assert route.service.metadata["x-asked-bin"] == b"\0\1\xff"
    assert route.service.metadata["cf-connecting-ip"] == "127.0.0.1"
    seen = [*route.service.metadata, *dict(call.initial_metadata()), *dict(call.trailing_metadata())]
    assert not [name for name in seen if "pyconnector" in name]


def test_messages_larger_than_every_window(route: Route) -> None:
    message = bytes(range(256)) * 12_288  # 3 MiB
    assert route.call("unary_unary", "unary")(message, timeout=SECONDS) == message[::-1]


def test_many_calls_at_once_on_one_connection(route: Route) -> None:
    unary = route.call("unary_unary", "unary")
    calls = [unary.future(b"%d" % number, timeout=SECONDS) for number in range(100)]
    assert [call.result() for call in calls] == [(b"%d" % number)[::-1] for number in range(100)]


def test_server_streaming(route: Route) -> None:
    answers = list(route.call("unary_stream", "count")(b"500", timeout=SECONDS))
    assert answers == [b"%d" % number for number in range(500)]


def test_client_streaming(route: Route) -> None:
    words = [b"%d" % number for number in range(500)]
    assert route.call("stream_unary", "join")(iter(words), timeout=SECONDS) == b",".join(words)


def test_bidirectional_streaming_answers_each_message_as_it_comes(route: Route) -> None:
    answered = threading.Semaphore(1)

    def questions() -> Iterator[bytes]:
        for word in (b"one", b"two", b"three"):
            assert answered.acquire(timeout=SECONDS)
            yield word

    answers = []
    for answer in route.call("stream_stream", "talk")(questions(), timeout=SECONDS):
        answers.append(answer)
        answered.release()  # only now the next question is asked
    assert answers == [b"ONE", b"TWO", b"THREE"]


def test_a_failure_comes_with_its_details_in_the_trailers(route: Route) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        route.call("unary_unary", "fail")(b"", timeout=SECONDS)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "not now: 100% ä"
    assert dict(error.trailing_metadata()) == {"grpc-status-details-bin": b"\x08\x05details", "x-why": "because"}


def test_a_failure_in_mid_stream_comes_after_what_was_sent(route: Route) -> None:
    call = route.call("unary_stream", "fail_late")(b"", timeout=SECONDS)
    assert next(call) == b"something"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "the rest is gone")


def test_a_method_that_is_not_there(route: Route) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        route.call("unary_unary", "nothing")(b"", timeout=SECONDS)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_reaches_the_service(route: Route) -> None:
    route.service.left.clear()
    with pytest.raises(grpc.RpcError) as caught:
        route.call("unary_unary", "wait")(b"", timeout=0.4)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert route.service.left.wait(5)
    assert route.service.remaining is not None
    assert route.service.remaining < 1.0


def test_a_caller_who_cancels_is_noticed_at_once(route: Route) -> None:
    route.service.left.clear()
    call = route.call("unary_stream", "tick")(b"", timeout=SECONDS)
    assert [next(call) for _ in range(3)] == [b"tick"] * 3
    call.cancel()
    begun = time.monotonic()
    assert route.service.left.wait(5)
    assert time.monotonic() - begun < 1.0


def test_a_caller_who_cancels_while_it_waits_is_noticed_too(route: Route) -> None:
    route.service.left.clear()
    route.service.arrived.clear()
    call = route.call("unary_unary", "wait").future(b"", timeout=SECONDS)
    assert route.service.arrived.wait(5)
    call.cancel()
    assert route.service.left.wait(5)


def test_another_host_has_another_rule(route: Route) -> None:
    with grpc.insecure_channel(route.address, options=[("grpc.default_authority", "other.test")]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(SERVICE + "unary")(b"", timeout=SECONDS)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # what gRPC makes of 404


@pytest.mark.parametrize("scheme", ["h2c", "https"])
def test_a_service_that_is_down_is_unavailable(scheme: str) -> None:
    with grpc_server(EchoService()) as port:
        pass
    with Route(
        EchoService(), {"service": f"{scheme}://127.0.0.1:{port}", "originRequest": {"http2Origin": True}}, "aioquic"
    ) as route:
        with pytest.raises(grpc.RpcError) as caught:
            route.call("unary_unary", "unary")(b"", timeout=SECONDS)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "Unable to reach the origin service" in error.details()
