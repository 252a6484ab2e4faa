"""What the provider's DNS switches in a Connector: the features of its registrations, and its choice of protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.connector.discovery.remote_switches import Switches, follow_switches, is_switched, switches_for
from pyconnector.connector.link.edge_connection import with_datagram_v3

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.config.model import ConnectorConfig
    from pyconnector.connector.link.edge_connection import Identity
    from pyconnector.connector.link.protocol_choice import ProtocolChoice


class Switching:
    """The switches of one Connector, as far as they are known."""

    def __init__(self, config: ConnectorConfig, features: tuple[str, ...]) -> None:
        """`features` are those that it registers with where nothing is switched."""
        self._config = config
        self._features = features
        self.switches = Switches()

    async def look_up(self) -> None:
        """Ask for the first time. Never fails. Cancel at any time."""
        self.switches = await switches_for(self._config)

    @property
    def features(self) -> tuple[str, ...]:
        """What the next connection registers with."""
        if not self.switches.datagram_v3:
            return self._features
        return with_datagram_v3(self._features, self._config.features)

    async def follow(self, identity: Identity, choice: ProtocolChoice, *, random: Callable[[], float]) -> None:
        """Ask every hour, for the connections that follow; return at once where nobody is asked. Cancel any time."""

        def changed(switches: Switches) -> None:
            self.switches = switches
            identity.features = self.features
            choice.told(switches.protocol)

        if is_switched(self._config):
            await follow_switches(self._config, self.switches, changed, random=random)
