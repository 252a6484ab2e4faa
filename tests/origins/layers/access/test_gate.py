"""The access layer: what passes, what a refusal looks like, and how keys are fetched."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyconnector.origins.base import OriginRequest, RequestKind
from pyconnector.origins.builtin.status import StatusOrigin
from pyconnector.origins.layers.access.gate import MAX_REMEMBERED, AccessGate
from pyconnector.origins.layers.access.key_cache import FETCH_INTERVAL, KEYS_AHEAD, KEYS_FRESH, KEYS_STALE
from pyconnector.origins.layers.access.layer import AccessLayer
from pyconnector.origins.layers.base import Rejection
from tests.support.identity.access import AUDIENCE, NOW, TEAM, Team

if TYPE_CHECKING:
    from pyconnector.identity.access_token import AccessKeys
    from pyconnector.ingress import Rule

ACME = Team()
ORIGIN = StatusOrigin(204)


class World:
    """A clock that the test sets, and a key endpoint that counts."""

    def __init__(self) -> None:
        self.now = NOW
        self.fetches: list[str] = []
        self.answer: bytes | Exception = ACME.document()
        self.layer = AccessLayer(self.fetch, clock=lambda: self.now)

    async def fetch(self, url: str) -> bytes:
        self.fetches.append(url)
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def gate(self, *, environment: str = "", audience: str = AUDIENCE) -> AccessGate:
        access = SimpleNamespace(required=True, team_name=TEAM, aud_tag=(audience,), environment=environment,
            issuer="", keys_url="", allow=())  # fmt: skip
        gate = self.layer(ORIGIN, rule(access))
        assert isinstance(gate, AccessGate)
        return gate


def rule(access: object) -> Rule:
    return cast("Rule", SimpleNamespace(settings=SimpleNamespace(access=access), identity=()))


def request(*headers: tuple[bytes, bytes], kind: RequestKind = RequestKind.HTTP) -> OriginRequest:
    return OriginRequest(kind=kind, method="GET", target="/", host="app.test", headers=list(headers))


def with_token(token: bytes, *more: tuple[bytes, bytes]) -> OriginRequest:
    return request((b"Cf-Access-Jwt-Assertion", token), *more)


async def admit(gate: AccessGate, incoming: OriginRequest) -> Rejection | None:
    """Return the refusal, or None where the request passed."""
    try:
        await gate.admit(incoming)
    except Rejection as rejection:
        return rejection
    return None


async def test_a_good_token_sets_the_identity() -> None:
    incoming = with_token(ACME.token())
    assert await admit(World().gate(), incoming) is None
    assert incoming.identity is not None
    assert incoming.identity.name == "dev@acme.example"


def test_a_rule_without_access_keeps_its_origin_as_it_is() -> None:
    world = World()
    assert world.layer(ORIGIN, rule(None)) is ORIGIN
    assert world.layer(ORIGIN, rule(SimpleNamespace(required=False))) is ORIGIN


@pytest.mark.parametrize("kind", list(RequestKind))
async def test_no_token_is_a_403_for_every_kind(kind: RequestKind) -> None:
    rejection = await admit(World().gate(), request(kind=kind))
    assert rejection is not None
    assert rejection.status == 403
    assert "no Access token" in rejection.reason


async def test_two_tokens_are_refused() -> None:
    good = ACME.token()
    rejection = await admit(World().gate(), with_token(good, (b"cf-access-jwt-assertion", good)))
    assert rejection is not None
    assert rejection.status == 403


async def test_a_refusal_never_quotes_the_token() -> None:
    token = ACME.token(iss="https://evil.example")
    rejection = await admit(World().gate(), with_token(token))
    assert rejection is not None
    assert token.decode() not in rejection.reason
    assert "evil" not in rejection.reason


async def test_a_visitors_own_identity_header_never_reaches_the_origin() -> None:
    gate = World().gate()
    forged = (b"cf-access-authenticated-user-email", b"admin@acme.example")
    user = with_token(ACME.token(), forged)
    assert await admit(gate, user) is None
    assert [value for name, value in user.headers if name.lower() == forged[0]] == [b"dev@acme.example"]
    service = with_token(ACME.token(sub="", email=None, common_name="id.access"), forged)
    assert await admit(gate, service) is None
    assert not [value for name, value in service.headers if name.lower() == forged[0]]


@pytest.mark.parametrize(
    "name",
    [b"Cf_Access_Authenticated_User_Email", b"CF-ACCESS_authenticated-user.email", b"Cf_Access_Jwt_Assertion"],
)
async def test_names_that_cgi_takes_for_ours_never_reach_the_origin(name: bytes) -> None:
    incoming = with_token(ACME.token(), (name, b"admin@acme.example"), (b"X_Other_Header_As_Long_As_Those.", b"1"))
    assert await admit(World().gate(), incoming) is None
    assert [header for header, _ in incoming.headers] == [
        b"Cf-Access-Jwt-Assertion", b"X_Other_Header_As_Long_As_Those.", b"Cf-Access-Authenticated-User-Email",
    ]  # fmt: skip


async def test_keys_are_fetched_once_for_all_rules_of_a_team() -> None:
    world = World()
    gates = [world.gate(), world.gate()]
    await asyncio.gather(*(admit(gate, with_token(ACME.token())) for gate in gates for _ in range(5)))
    assert world.fetches == [f"https://{TEAM}.cloudflareaccess.com/cdn-cgi/access/certs"]


async def test_the_fed_environment_asks_elsewhere() -> None:
    world = World()
    assert await admit(world.gate(environment="fed"), with_token(ACME.token())) is not None
    assert world.fetches == [f"https://{TEAM}.fed.cloudflareaccess.com/cdn-cgi/access/certs"]


async def test_a_rotated_key_is_fetched_and_then_passes() -> None:
    world = World()
    gate = world.gate()
    assert await admit(gate, with_token(ACME.token())) is None
    rotated = Team()
    rotated.rsa.as_dict()["kid"] = "rsa-1"
    new = rotated.token(key=rotated.ec, header={"kid": "ec-9"})
    world.answer = ACME.document()[:-2] + b", " + rotated.document(rotated.ec)[10:].replace(b"ec-1", b"ec-9")
    world.now += FETCH_INTERVAL
    assert await admit(gate, with_token(new)) is None


async def test_unknown_keys_do_not_make_us_ask_again_and_again() -> None:
    world = World()
    gate = world.gate()
    for number in range(50):
        stranger = ACME.token(header={"kid": f"made-up-{number}"})
        assert await admit(gate, with_token(stranger)) is not None
    assert len(world.fetches) == 1
    world.now += FETCH_INTERVAL
    assert await admit(gate, with_token(ACME.token(header={"kid": "made-up"}))) is not None
    assert len(world.fetches) == 2


@pytest.mark.parametrize("trouble", [OSError("refused"), TimeoutError(), KeyError("x"), b"<html>", b" " * 300_000])
async def test_a_cold_cache_without_its_endpoint_refuses(trouble: bytes | Exception) -> None:
    world = World()
    world.answer = trouble
    rejection = await admit(world.gate(), with_token(ACME.token()))
    assert rejection is not None
    assert "keys cannot be fetched" in rejection.reason


async def test_a_warm_cache_serves_without_its_endpoint_but_not_for_ever() -> None:
    world = World()
    gate = world.gate()
    lasting = ACME.token(exp=NOW + KEYS_STALE * 3)
    assert await admit(gate, with_token(lasting)) is None
    world.answer = OSError("down")
    world.now += KEYS_FRESH + 1
    other = ACME.token(exp=NOW + KEYS_STALE * 3, email="else@acme.example")
    assert await admit(gate, with_token(other)) is None
    assert len(world.fetches) == 2
    world.now = NOW + KEYS_STALE + 1
    third = ACME.token(exp=NOW + KEYS_STALE * 3, email="third@acme.example")
    assert await admit(gate, with_token(third)) is not None


async def test_nobody_waits_for_an_endpoint_that_fails_while_there_are_keys() -> None:
    world = World()
    gate = world.gate()
    assert await admit(gate, with_token(ACME.token())) is None
    world.answer = OSError("down")
    world.now += KEYS_FRESH + 1
    assert (
        await admit(gate, with_token(ACME.token(exp=NOW + KEYS_STALE, email="a@acme.example"))) is None
    )  # learns that it fails
    asked = asyncio.Event()

    async def silent(url: str) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    gate._keys._fetch = silent
    world.now += FETCH_INTERVAL
    for name in "bc":
        assert await admit(gate, with_token(ACME.token(exp=NOW + KEYS_STALE, email=f"{name}@acme.example"))) is None
        assert gate._keys._pending is not None, "it was waited for, until it was given up"
    async with asyncio.timeout(30):
        await asked.wait()
    await world.layer.close()


async def test_keys_are_fetched_ahead_of_their_time() -> None:
    world = World()
    gate = world.gate()
    assert await admit(gate, with_token(ACME.token())) is None
    world.now += KEYS_AHEAD - 1
    assert await admit(gate, with_token(ACME.token(exp=NOW + KEYS_STALE, email="a@acme.example"))) is None
    assert len(world.fetches) == 1
    world.now += 1
    assert await admit(gate, with_token(ACME.token(exp=NOW + KEYS_STALE, email="b@acme.example"))) is None
    assert gate._keys._pending is not None
    await gate._keys._pending
    assert len(world.fetches) == 2
    world.now += KEYS_FRESH - 1
    assert gate._keys.current() is not None
    await world.layer.close()


async def test_a_defect_in_the_check_refuses_with_403() -> None:
    world = World()
    gate = world.gate()
    assert await admit(gate, with_token(ACME.token())) is None
    gate._keys._keys = cast("AccessKeys", SimpleNamespace(by_id=None))
    rejection = await admit(gate, with_token(ACME.token(email="a@acme.example")))
    assert rejection is not None
    assert (rejection.status, rejection.reason) == (403, "access refused: the check failed (AttributeError)")


async def test_a_clock_that_was_set_back_does_not_stop_the_fetching() -> None:
    world = World()
    gate = world.gate()
    world.answer = OSError("down")
    world.now = NOW + 24 * 3600
    assert await admit(gate, with_token(ACME.token())) is not None
    world.now = NOW
    world.answer = ACME.document()
    assert await admit(gate, with_token(ACME.token())) is None


async def test_a_remembered_token_still_expires() -> None:
    world = World()
    gate = world.gate()
    token = ACME.token(exp=NOW + 10)
    assert await admit(gate, with_token(token)) is None
    world.now = NOW + 100
    assert await admit(gate, with_token(token)) is not None


async def test_remembered_tokens_are_bounded() -> None:
    gate = World().gate()
    token = ACME.token()
    assert await admit(gate, with_token(token)) is None
    identity = gate._remembered[token]
    for number in range(MAX_REMEMBERED * 2):
        gate._remembered[b"%d" % number] = identity
    assert await admit(gate, with_token(ACME.token(email="else@acme.example"))) is None
    assert len(gate._remembered) == MAX_REMEMBERED


@pytest.mark.parametrize("name", ["", "a.b", "evil.example/", "a@b", "-a", "a" * 64, "ü"])
def test_a_team_name_that_is_no_label_stops_the_start(name: str) -> None:
    access = SimpleNamespace(
        required=True, team_name=name, aud_tag=(AUDIENCE,), environment="", issuer="", keys_url="", allow=()
    )
    with pytest.raises(ValueError, match="teamName"):
        World().layer(ORIGIN, rule(access))


async def test_cancelling_one_waiter_leaves_the_fetch_to_the_others() -> None:
    world = World()
    answered = asyncio.Event()

    async def slow(url: str) -> bytes:
        await answered.wait()
        return ACME.document()

    layer = AccessLayer(slow, clock=lambda: NOW)
    access = SimpleNamespace(
        required=True, team_name=TEAM, aud_tag=(AUDIENCE,), environment="", issuer="", keys_url="", allow=()
    )
    gate = layer(ORIGIN, rule(access))
    assert isinstance(gate, AccessGate)
    first = asyncio.ensure_future(admit(gate, with_token(ACME.token())))
    second = asyncio.ensure_future(admit(gate, with_token(ACME.token())))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    answered.set()
    assert await second is None
    assert world.fetches == []


async def test_keys_and_issuer_of_a_mesh_stand_in_place_of_a_team() -> None:
    world = World()
    access = SimpleNamespace(
        required=True, team_name="", aud_tag=(AUDIENCE,), environment="", issuer="https://access.mesh.test",
        keys_url="http://127.0.0.1:1/certs", allow=("role:reader",),
    )  # fmt: skip
    gate = world.layer(ORIGIN, rule(access))
    assert isinstance(gate, AccessGate)
    service: dict[str, Any] = {
        "iss": "https://access.mesh.test",
        "sub": "",
        "email": None,
        "common_name": "x.access",
    }
    passing = with_token(ACME.token(**service, custom={"role": "reader"}))
    await gate.admit(passing)
    assert passing.identity is not None
    assert world.fetches == ["http://127.0.0.1:1/certs"]
    for token in (ACME.token(**service, custom={"role": "writer"}), ACME.token(**service), ACME.token()):
        with pytest.raises(Rejection):
            await gate.admit(with_token(token))
