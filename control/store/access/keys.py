"""The keys that edges sign tokens with: one in use, one ahead, and for a week the one before (access.md 5)."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from pyconnector.control.store.access import organization
from pyconnector.control.store.access.tables import SigningKey
from pyconnector.control.store.work import Entry
from pyconnector.identity.access_token.signing import KEY_BITS, key_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work

#: How long what was signed with the key before is still taken.
OVERLAP = datetime.timedelta(days=7)
#: How long a certificate around a key says that it is valid. Nobody may rely on it (access.md 4).
_CERTIFICATE = datetime.timedelta(days=3650)


async def ensure(work: Work) -> None:
    """Make the first two keys and the organization, unless they are there. Cancel undoes it."""
    await organization.ensure(work)
    if await _of_state(work.session, work.account_id, "current") is None:
        first = await _made(work, "current")
        first.current_since = work.now
        await _made(work, "next")


async def rotate(work: Work) -> SigningKey:
    """Sign with the key that was published ahead from now on; the one before counts for a week. Cancel undoes it."""
    await ensure(work)
    await work.session.flush()
    for old in await _all(work.session, work.account_id):
        if old.state == "previous" and (old.expires_at is None or old.expires_at <= work.now):
            await work.session.delete(old)
            work.publish("access_key", old.id, None)
    current = await _of_state(work.session, work.account_id, "current")
    ahead = await _of_state(work.session, work.account_id, "next")
    assert current is not None
    assert ahead is not None
    current.state, current.expires_at = "previous", work.now + OVERLAP
    ahead.state, ahead.current_since = "current", work.now
    work.publish("access_key", current.id, edge_value(current))
    work.publish("access_key", ahead.id, edge_value(ahead))
    await _made(work, "next")
    work.audit(
        Entry(
            action="update", resource_type="access_keys", resource_id=ahead.id,
            description="Rotated the signing keys", response={"current": ahead.id, "previous": current.id},
        )
    )  # fmt: skip
    return ahead


async def rotate_if_due(work: Work) -> bool:
    """Rotate where the key in use is older than the organization says; return whether. Cancel undoes it."""
    current = await _of_state(work.session, work.account_id, "current")
    row = await organization.find(work.session, work.account_id)
    if current is None or row is None or current.current_since is None:
        return False
    if work.now < current.current_since + datetime.timedelta(days=row.key_rotation_interval_days):
        return False
    await rotate(work)
    return True


async def current_since(session: AsyncSession, account_id: str) -> datetime.datetime | None:
    """Return since when the key in use is in use; None before the first. Cancel changes nothing."""
    current = await _of_state(session, account_id, "current")
    return None if current is None else current.current_since


async def signing(session: AsyncSession, account_id: str) -> SigningKey:
    """Return the key in use, once `ensure` has made it. Cancel changes nothing."""
    current = await _of_state(session, account_id, "current")
    assert current is not None
    return current


def edge_value(row: SigningKey) -> dict[str, Any]:
    """Return what edges need to know: the private key too, for they sign."""
    return {
        "private_pem": row.private_pem, "certificate_pem": row.certificate_pem, "state": row.state,
        "expires": None if row.expires_at is None else row.expires_at.timestamp(),
    }  # fmt: skip


async def _all(session: AsyncSession, account_id: str) -> list[SigningKey]:
    statement = select(SigningKey).where(SigningKey.account_id == account_id)
    return list((await session.execute(statement)).scalars())


async def _of_state(session: AsyncSession, account_id: str, state: str) -> SigningKey | None:
    statement = select(SigningKey).where(SigningKey.account_id == account_id, SigningKey.state == state)
    return (await session.execute(statement)).scalar_one_or_none()


async def _made(work: Work, state: str) -> SigningKey:
    # In a thread, since it takes its time.
    number, private_pem, certificate_pem = await asyncio.to_thread(_generated, work.now)
    row = SigningKey(
        id=number, account_id=work.account_id, private_pem=private_pem, certificate_pem=certificate_pem, state=state,
        created_at=work.now, current_since=None, expires_at=None,
    )  # fmt: skip
    work.session.add(row)
    await work.session.flush()
    work.publish("access_key", row.id, edge_value(row))
    return row


def new_private_key() -> rsa.RSAPrivateKey:
    """Find the primes of a new signing key. Takes a tenth of a second or more."""
    return rsa.generate_private_key(65537, KEY_BITS)


def _generated(now: datetime.datetime) -> tuple[str, str, str]:
    private = new_private_key()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pyconnector Access")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + _CERTIFICATE)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    encoded = certificate.public_bytes(serialization.Encoding.PEM)
    return key_id(private.public_key()), pem.decode("ascii"), encoded.decode("ascii")
