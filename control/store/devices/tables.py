"""The table of devices, as those of `control.store.models`."""

from __future__ import annotations

import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from pyconnector.control.store.columns import UtcTime
from pyconnector.control.store.models import Base


class Device(Base):
    """Somebody's machine with its Mesh address: whatever shows a service token, or one that comes over WireGuard."""

    __tablename__ = "devices"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(16))
    "`token` or `wireguard`."
    token_id: Mapped[str] = mapped_column(ForeignKey("access_service_tokens.id"), index=True)
    "Whose rules hold for it."
    address: Mapped[int] = mapped_column(BigInteger, unique=True)
    "Its Mesh address, as a number."
    public_key: Mapped[str | None] = mapped_column(String(44), unique=True)
    server_key: Mapped[str | None] = mapped_column(String(44))
    "The private key of the edges towards it: told to edges alone."
    port: Mapped[int | None] = mapped_column(Integer, unique=True)
    dns_address: Mapped[int | None] = mapped_column(BigInteger)
    name_range: Mapped[str | None] = mapped_column(String(18))
    "As its configuration has them: another range of later on is for later devices."
    revoked_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_devices_created", "account_id", "created_at", "id"),)
