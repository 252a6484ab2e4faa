"""The first start: an account, its zone, its default virtual network, a key and the first tokens."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from pyconnector.control.store.models import Account, Setting, VirtualNetwork, Zone
from pyconnector.control.store.objects import tokens, virtual_networks
from pyconnector.control.store.objects.names import hostname_of
from pyconnector.control.store.work import Actor, Work

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database

_ACCOUNT = "account_id"
_ZONE = "zone_id"
MANAGEMENT_KEY = "management_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Whose objects are here, and what signs for it."""

    account_id: str
    zone_id: str
    zone_name: str
    management_key: str
    first_token: str | None = None
    "Only at the first start."

    def __repr__(self) -> str:
        return f"<Installation account={self.account_id} zone={self.zone_name}>"


async def install(database: Database, *, zone_name: str, account_name: str) -> Installation:
    """Return the installation of a database, made at the first start. Cancel leaves it made or not.

    Another `zone_name` than before adds a zone. Two that start at once make one installation.

    Raises:
        Invalid: the zone's name is no hostname.
        StoreUnavailable: the database cannot be used.
    """
    name = hostname_of(zone_name)

    async def operation(work: Work) -> Installation:
        setting = await work.session.get(Setting, _ACCOUNT)
        if setting is None:
            return await _made(work, name, account_name)
        return await _found(work, setting.value, name)

    return await database.write(Actor(account_id=""), operation)


async def new_token(database: Database, account_id: str, name: str, scopes: tuple[str, ...]) -> str:
    """Make a token as the system itself, and return its text. Cancel undoes it."""

    async def operation(work: Work) -> str:
        return (await tokens.create(work, name=name, scopes=scopes)).text

    return await database.write(Actor(account_id=account_id), operation)


async def _made(work: Work, zone_name: str, account_name: str) -> Installation:
    session = work.session
    account = Account(id=uuid.uuid4().hex, name=account_name, created_at=work.now)
    # The primary key lets only one of two first starts through; the other looks again and finds it.
    session.add(Setting(name=_ACCOUNT, value=account.id))
    session.add(account)
    await session.flush()
    work.actor = Actor(account_id=account.id)
    zone = Zone(id=uuid.uuid4().hex, account_id=account.id, name=zone_name, created_at=work.now)
    key = _new_key()
    session.add_all([zone, Setting(name=_ZONE, value=zone.id), Setting(name=MANAGEMENT_KEY, value=key)])
    network = VirtualNetwork(
        id=str(uuid.uuid4()), account_id=account.id, name=virtual_networks.FIRST, comment="", is_default=True,
        created_at=work.now, deleted_at=None,
    )  # fmt: skip
    session.add(network)
    work.publish("virtual_network", network.id, virtual_networks.edge_value(network))
    token = await tokens.create(work, name="first", scopes=tokens.FIRST_SCOPES)
    return Installation(
        account_id=account.id, zone_id=zone.id, zone_name=zone.name, management_key=key, first_token=token.text
    )


async def _found(work: Work, account_id: str, zone_name: str) -> Installation:
    session = work.session
    key = await session.get_one(Setting, MANAGEMENT_KEY)
    zone = (await session.execute(select(Zone).where(Zone.name == zone_name))).scalar_one_or_none()
    if zone is None:
        zone = Zone(id=uuid.uuid4().hex, account_id=account_id, name=zone_name, created_at=work.now)
        session.add(zone)
    return Installation(account_id=account_id, zone_id=zone.id, zone_name=zone.name, management_key=key.value)


def _new_key() -> str:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode("ascii")
