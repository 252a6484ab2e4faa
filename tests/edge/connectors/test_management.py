"""Nobody reaches the management service of a connector but with a token that the edge verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pyconnector.edge.connectors.exchange import Broken
from pyconnector.edge.connectors.management import OneConnector
from pyconnector.edge.connectors.tunnels import Tunnels
from pyconnector.identity.management_token import FED_HOSTNAME, HOSTNAME, ManagementKey, public_key
from tests.edge.connectors.test_tunnels import ID, Member, tunnel_settings
from tests.support.identity.management import KEY, management_token, new_key

if TYPE_CHECKING:
    from pyconnector.edge import TunnelSettings


def target(token: str, more: str = "") -> bytes:
    return f"/logs?access_token={token}{more}".encode()


def with_key(*settings: TunnelSettings) -> Tunnels:
    tunnels = Tunnels(settings or [tunnel_settings()])
    tunnels.management.key = ManagementKey(public_key(KEY))
    return tunnels


@pytest.mark.parametrize("host", [HOSTNAME, FED_HOSTNAME])
def test_no_tunnel_serves_these_names(host: str) -> None:
    tunnels = with_key(tunnel_settings(1), tunnel_settings(2, HOSTNAME, FED_HOSTNAME, "*.argotunnel.com"))
    tunnels.route_name(host, ID)
    assert tunnels.for_host("app.test") is not None
    assert tunnels.for_host(host) is None
    with pytest.raises(Broken, match="not accepted"):
        tunnels.for_request(host, b"/logs")


@pytest.mark.parametrize(
    "forged",
    ["", "a.b.c", management_token(str(ID), key=new_key()), management_token(str(ID), exp=1)],
    ids=["none", "no token", "signed by somebody", "expired"],
)
def test_a_token_that_is_not_verified_leads_nowhere(forged: str) -> None:
    with pytest.raises(Broken, match="not accepted") as refused:
        with_key().for_request(HOSTNAME, target(forged))
    assert refused.value.status == 403


def test_without_a_control_plane_nobody_passes() -> None:
    with pytest.raises(Broken, match="no control plane"):
        Tunnels([tunnel_settings()]).for_request(HOSTNAME, target(management_token(str(ID))))


def test_the_token_says_which_tunnel() -> None:
    tunnels = with_key()
    assert tunnels.for_request(HOSTNAME, target(management_token(str(ID)))) is tunnels.get(ID)
    assert tunnels.for_request(HOSTNAME, target(management_token(str(UUID(int=9))))) is None
    other_account: dict[str, Any] = {"tun": {"id": str(ID), "account_tag": "other"}}
    assert tunnels.for_request(HOSTNAME, target(management_token(str(ID), **other_account))) is None


def test_one_of_several_connectors_can_be_chosen() -> None:
    tunnels, wanted = with_key(), uuid4()
    tunnel = tunnels.get(ID)
    assert tunnel is not None
    tunnel.join(Member())
    member = Member(client_id=wanted)
    tunnel.join(member)
    chosen = tunnels.for_request(HOSTNAME, target(management_token(str(ID)), f"&connector_id={wanted}"))
    assert isinstance(chosen, OneConnector)
    assert chosen.pick() is member
    chosen.leave(member)
    assert chosen.pick() is None
    with pytest.raises(Broken, match="cannot be read"):
        tunnels.for_request(HOSTNAME, target(management_token(str(ID)), "&connector_id=x"))
