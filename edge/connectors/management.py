"""Requests to manage a connector: under a name that belongs to no tunnel, led by the token that each must have.

The connector has no key to verify a token with and relies on this. So nothing passes to these names that was not
verified here: not under a name that a connector announces, and not where one tunnel serves every name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from uuid import UUID

from pyconnector.edge.connectors.exchange import Broken
from pyconnector.identity.management_token import PARAMETER, ManagementKey, NoManagementToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.connectors.tunnels import Member, Tunnel

#: Names a connector among several of a tunnel.
CONNECTOR_PARAMETER = "connector_id"
#: Parameters that are looked at.
MAX_PARAMETERS = 16


class OneConnector:
    """The connections of one connector of a tunnel, as `open_exchange` wants a tunnel."""

    elsewhere = None
    "Another edge does not know which connector is wanted."

    def __init__(self, tunnel: Tunnel, client_id: UUID) -> None:
        self.tunnel_id = tunnel.tunnel_id
        self._tunnel = tunnel
        self._client_id = client_id

    def __repr__(self) -> str:
        return f"<OneConnector {self._client_id} of {self._tunnel!r}>"

    def pick(self) -> Member | None:
        """Return one of its connections; None without any."""
        for member in self._tunnel.members:
            if member.registration.client_id == self._client_id:
                return member
        return None

    def leave(self, member: Member) -> None:
        """See `Tunnel.leave`."""
        self._tunnel.leave(member)


class Management:
    """Finds the connector that a request is for."""

    def __init__(self, clock: Callable[[], float], get: Callable[[UUID], Tunnel | None]) -> None:
        """`clock` tells seconds since the epoch; `get` returns the tunnel of an id."""
        self.key: ManagementKey | None = None
        "The control plane's, once it told."
        self._clock = clock
        self._get = get

    def tunnel(self, target: bytes) -> Tunnel | OneConnector | None:
        """Return what `target`, path and query of a request for one of the names, may reach.

        Raises:
            Broken: nothing, for want of a token.
        """
        if self.key is None:
            raise Broken("This edge has no control plane whose tokens it could verify.", 403)
        try:
            query = parse_qs(target.partition(b"?")[2].decode("ascii", "replace"), max_num_fields=MAX_PARAMETERS)
            claims = self.key.verify(query.get(PARAMETER, [""])[0], self._clock())
            tunnel = self._get(UUID(claims.tunnel_id))
            wanted = query.get(CONNECTOR_PARAMETER, [""])[0]
            if tunnel is None or tunnel.account_tag != claims.account_tag:
                return None
            return OneConnector(tunnel, UUID(wanted)) if wanted else tunnel
        except NoManagementToken as error:
            raise Broken(f"The access_token of this request is not accepted: {error}.", 403) from error
        except ValueError as error:
            raise Broken("The query of this request cannot be read.", 400) from error
