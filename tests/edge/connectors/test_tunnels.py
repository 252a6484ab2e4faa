"""Which tunnel serves what, who may join it, and whose turn it is."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from pyconnector.edge import EdgeSettings, SettingsError, TunnelSettings
from pyconnector.edge.connectors import hostnames
from pyconnector.edge.connectors.tunnels import (
    DUPLICATE,
    MAX_CONNECTIONS_PER_TUNNEL,
    MAX_LEARNED_HOSTNAMES,
    MAX_OPEN_TUNNELS,
    NOT_FOUND,
    NOT_TOLD_YET,
    TOO_MANY,
    WRONG_SECRET,
    Tunnel,
    Tunnels,
)
from pyconnector.edge.connectors.unknown import MAX_REMEMBERED, NEWS, UnknownTunnels
from pyconnector.protocol.rpc.registration import Registration

ID = UUID(int=1)


def tunnel_settings(number: int = 1, *hostnames: str, **options: Any) -> TunnelSettings:
    return TunnelSettings(
        account_tag="account", tunnel_id=UUID(int=number), secret=b"secret", hostnames=hostnames, **options
    )


def registration(**changes: Any) -> Registration:
    values: dict[str, Any] = {
        "account_tag": "account",
        "tunnel_secret": b"secret",
        "tunnel_id": ID,
        "connection_index": 0,
        "client_id": uuid4(),
    }
    return Registration(**(values | changes))


class Member:
    open: Any = None

    def __init__(self, in_flight: int = 0, **changes: Any) -> None:
        self.in_flight = in_flight
        self.registration = registration(**changes)


def test_only_the_right_account_tunnel_and_secret_get_in() -> None:
    tunnels = Tunnels([tunnel_settings()])
    assert tunnels.authenticate(registration()) is tunnels.get(ID)
    assert tunnels.authenticate(registration(tunnel_secret=b"secrets")) is WRONG_SECRET
    assert tunnels.authenticate(registration(tunnel_secret=b"")) is WRONG_SECRET
    assert tunnels.authenticate(registration(account_tag="other")) is NOT_FOUND
    assert tunnels.authenticate(registration(tunnel_id=UUID(int=2))) is NOT_FOUND
    assert not NOT_FOUND.should_retry
    assert "Unauthorized" in WRONG_SECRET.cause


def test_an_open_edge_keeps_to_the_first_secret_and_to_a_bound() -> None:
    tunnels = Tunnels(any_credentials=True)
    first = tunnels.authenticate(registration())
    assert isinstance(first, Tunnel)
    assert tunnels.authenticate(registration()) is first
    assert tunnels.authenticate(registration(tunnel_secret=b"another")) is WRONG_SECRET
    assert tunnels.authenticate(registration(tunnel_id=UUID(int=2), tunnel_secret=b"")) is NOT_FOUND
    for number in range(3, 3 + MAX_OPEN_TUNNELS):
        tunnels.authenticate(registration(tunnel_id=UUID(int=number)))
    assert len(tunnels) == MAX_OPEN_TUNNELS


def test_an_open_edge_listens_on_loopback_alone() -> None:
    EdgeSettings(address=("::1", 1), any_credentials=True)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com", ""):
        with pytest.raises(SettingsError, match="loopback"):
            EdgeSettings(address=(host, 1), any_credentials=True)


def test_secrets_are_in_no_repr() -> None:
    settings = tunnel_settings(configuration=b'{"password": 1}')
    assert "secret" not in repr(settings).replace("secret=", "")
    assert "password" not in repr(settings)
    assert "secret" not in repr(Tunnel(settings))


@pytest.mark.parametrize("hostname", ["", "A.test", "a..test", "*.", "*", "a.*", "-a.test", "a test", "a.test."])
def test_hostnames_that_are_none(hostname: str) -> None:
    with pytest.raises(SettingsError):
        tunnel_settings(1, hostname)


def test_hostnames_go_to_the_tunnel_that_names_them_best() -> None:
    tunnels = Tunnels(
        [tunnel_settings(1, "a.test", "*.b.test"), tunnel_settings(2, "x.b.test", "*.c.b.test"), tunnel_settings(3)]
    )

    def which(host: str) -> int:
        found = tunnels.for_host(host)
        assert found is not None
        return found.tunnel_id.int

    assert [which(host) for host in ("a.test", "y.b.test", "y.z.b.test", "x.b.test", "y.c.b.test")] == [1, 1, 1, 2, 2]
    assert [which(host) for host in ("b.test", "other", "127.0.0.1", "")] == [3, 3, 3, 3]
    assert Tunnels([tunnel_settings(1, "a.test")]).for_host("b.test") is None


def test_hostnames_of_a_configuration_count_where_settings_name_none() -> None:
    tunnels = Tunnels([tunnel_settings(1), tunnel_settings(2), tunnel_settings(3, "taken.test")])
    second = tunnels.get(UUID(int=2))
    assert second is not None
    rules = [{"hostname": "App.test"}, {"hostname": "taken.test"}, {"hostname": 3}, "x", {"service": "http_status:404"}]
    assert tunnels.learn(second, json.dumps({"ingress": rules}).encode()) == ("taken.test",)
    assert tunnels.for_host("app.test") is second
    assert tunnels.for_host("taken.test") is tunnels.get(UUID(int=3))
    assert tunnels.for_host("other.test") is tunnels.get(UUID(int=1))
    second.join(Member())
    assert tunnels.for_host("other.test") is second, "a tunnel with connections goes before one without"


@pytest.mark.parametrize("configuration", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_a_configuration_that_is_none_changes_nothing(configuration: bytes) -> None:
    tunnel = Tunnel(tunnel_settings())
    assert not tunnel.learn(configuration)
    assert tunnel.local_configuration is None


def test_learned_hostnames_are_bounded() -> None:
    tunnel = Tunnel(tunnel_settings())
    rules = [{"hostname": f"h{number}.test"} for number in range(MAX_LEARNED_HOSTNAMES + 5)]
    tunnel.learn(json.dumps({"ingress": rules}).encode())
    assert len(tunnel.learned_hostnames) == MAX_LEARNED_HOSTNAMES


def test_the_least_busy_connection_is_next_and_equals_take_turns() -> None:
    tunnel = Tunnel(tunnel_settings())
    assert tunnel.pick() is None
    members = [Member(), Member(), Member()]
    for member in members:
        tunnel.join(member)
    assert [tunnel.pick() for _ in range(6)] == members * 2
    members[0].in_flight, members[1].in_flight, members[2].in_flight = 2, 1, 1
    assert [tunnel.pick() for _ in range(4)] == [members[1], members[2]] * 2
    tunnel.leave(members[1])
    tunnel.leave(members[1])
    assert tunnel.pick() is members[2]


def test_the_same_index_of_the_same_connector_takes_the_place_of_the_old() -> None:
    tunnel = Tunnel(tunnel_settings())
    client = uuid4()
    old = Member(client_id=client)
    tunnel.join(old)
    assert tunnel.place_for(registration(client_id=client)) is old
    assert tunnel.place_for(registration(client_id=client, connection_index=1)) is None
    assert tunnel.place_for(registration()) is None, "another connector is a replica"


def test_an_exclusive_tunnel_has_each_index_once() -> None:
    tunnel = Tunnel(tunnel_settings(exclusive=True))
    old = Member()
    tunnel.join(old)
    assert tunnel.place_for(registration()) is DUPLICATE
    assert DUPLICATE.duplicate
    assert tunnel.place_for(registration(replace_existing=True)) is old
    assert tunnel.place_for(registration(connection_index=1)) is None


def test_connections_of_a_tunnel_are_bounded() -> None:
    tunnel = Tunnel(tunnel_settings())
    for _ in range(MAX_CONNECTIONS_PER_TUNNEL):
        tunnel.join(Member())
    assert tunnel.place_for(registration()) is TOO_MANY


def test_a_tunnel_is_there_once() -> None:
    tunnels = Tunnels([tunnel_settings()])
    with pytest.raises(ValueError, match="already"):
        tunnels.add(tunnel_settings())
    with pytest.raises(SettingsError, match="twice"):
        EdgeSettings(tunnels=(tunnel_settings(), tunnel_settings()))
    with pytest.raises(SettingsError, match="empty secret"):
        TunnelSettings(account_tag="a", tunnel_id=ID, secret=b"")


def announced(*names: str) -> bytes:
    return json.dumps({"ingress": [{"hostname": name} for name in names]}).encode()


def tunnels_with(*first: str) -> tuple[Tunnels, Tunnel, Tunnel, Tunnel]:
    """Return tunnel 1 with hostnames of the settings, and 2 and 3 that have none, each with a connection."""
    tunnels = Tunnels([tunnel_settings(1, *first), tunnel_settings(2), tunnel_settings(3)])
    one, two, three = tunnels.all()
    for tunnel in (one, two, three):
        tunnel.join(Member())
    return tunnels, one, two, three


@pytest.mark.parametrize("name", ["admin.corp.test", "*.corp.test", "x.y.corp.test", "*.x.corp.test", "corp.test"])
def test_nothing_below_a_wildcard_of_the_settings_is_learned(name: str) -> None:
    tunnels, one, two, _ = tunnels_with("*.corp.test")
    assert tunnels.learn(two, announced(name, "own.test")) == (name,)
    assert tunnels.for_host("admin.corp.test") is one
    assert tunnels.for_host("x.y.corp.test") is one
    assert tunnels.for_host("own.test") is two
    assert tunnels.hostnames_of(two) == ["own.test"]


@pytest.mark.parametrize("name", ["a.test", "x.a.test", "*.a.test", "A.TEST", "a.test."])
def test_nothing_at_or_below_a_name_of_the_settings_is_learned(name: str) -> None:
    tunnels, one, two, _ = tunnels_with("a.test")
    assert tunnels.learn(two, announced(name)) == (name.lower().removesuffix("."),)
    assert tunnels.for_host("a.test") is one
    assert tunnels.hostnames_of(two) == []


def test_a_wildcard_above_a_name_of_the_settings_leaves_it_alone() -> None:
    tunnels, one, two, _ = tunnels_with("a.corp.test")
    assert tunnels.learn(two, announced("*.corp.test")) == ()
    assert tunnels.for_host("a.corp.test") is one
    assert tunnels.for_host("b.corp.test") is two


def test_a_name_is_whose_announced_it_first() -> None:
    tunnels, _, two, three = tunnels_with("other.test")
    assert tunnels.learn(three, announced("app.test", "*.app.test")) == ()
    assert tunnels.learn(two, announced("app.test", "*.app.test", "more.test")) == ("app.test", "*.app.test")
    assert tunnels.for_host("app.test") is three
    assert tunnels.for_host("x.app.test") is three
    assert tunnels.for_host("more.test") is two
    assert tunnels.learn(three, announced("*.app.test", "app.test", "new.test")) == (), "it announces anew"
    assert tunnels.for_host("app.test") is three


def test_a_claim_ends_with_the_last_connection_or_a_new_announcement() -> None:
    tunnels, _, two, three = tunnels_with("other.test")
    second = Member()
    three.join(second)
    tunnels.learn(three, announced("app.test", "gone.test"))
    tunnels.learn(two, announced("app.test", "gone.test"))
    three.leave(three.members[0])
    assert tunnels.for_host("app.test") is three
    tunnels.learn(three, announced("app.test"))
    assert tunnels.for_host("gone.test") is two
    three.leave(second)
    assert tunnels.for_host("app.test") is two
    two.leave(two.members[0])
    assert tunnels.hostnames_of(two) == []


def test_a_tunnel_added_with_hostnames_takes_them_from_whoever_announced_them() -> None:
    tunnels, _, two, _ = tunnels_with("other.test")
    tunnels.learn(two, announced("app.test"))
    added = tunnels.add(tunnel_settings(4, "*.app.test", "app.test"))
    assert tunnels.for_host("app.test") is added
    assert tunnels.hostnames_of(two) == []


def test_a_host_that_is_too_long_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnels, _, two, _ = tunnels_with("other.test")
    monkeypatch.setattr(hostnames, "_covering", lambda host: pytest.fail("it was taken apart"))
    assert tunnels.for_host("a." * 30_000) is two


def test_a_tunnel_may_become_known_a_moment_after_its_connector_came() -> None:
    tunnels = Tunnels()
    asked = registration()
    assert tunnels.authenticate(asked, 100.0) is NOT_FOUND
    tunnels.unknown = UnknownTunnels()
    assert tunnels.authenticate(asked, 100.0) is NOT_TOLD_YET
    assert tunnels.authenticate(asked, 100.0 + NEWS - 0.1) is NOT_TOLD_YET
    assert tunnels.authenticate(asked, 100.0 + NEWS) is NOT_FOUND
    tunnels.put(tunnel_settings(named_only=True))
    assert isinstance(tunnels.authenticate(asked, 200.0), Tunnel)
    # One that was deleted is gone at once, and its connector need not ask again.
    tunnels.remove(ID)
    assert tunnels.authenticate(asked, 200.0) is NOT_FOUND
    for number in range(MAX_REMEMBERED + 5):
        tunnels.authenticate(registration(tunnel_id=UUID(int=number)), 300.0)
    assert len(tunnels.unknown) == MAX_REMEMBERED
