"""The tables. Every object that can be edited has a version that an edit must find unchanged (`version_id_col`)."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, MetaData, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pyconnector.control.store.columns import Json, UtcTime

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_ALIVE = text("deleted_at IS NULL")


class Base(DeclarativeBase):
    """Where the tables are collected."""

    metadata = MetaData(naming_convention=_NAMES)


class Setting(Base):
    """A value of the installation: its signing key, its first account."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class Account(Base):
    """Whose objects they are."""

    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)


class Zone(Base):
    """A domain under which names can be routed to tunnels."""

    __tablename__ = "zones"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)


class ApiToken(Base):
    """What a client shows to be let in. Only a digest of it is kept."""

    __tablename__ = "api_tokens"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)


class Tunnel(Base):
    """A tunnel. A deleted one stays, so that lists can show it and its name can be used again."""

    __tablename__ = "tunnels"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    secret: Mapped[str] = mapped_column(String(1024))
    "Base64. The API hands it out as part of the tunnel's token, so a digest would not do; edges get a digest."
    config_src: Mapped[str] = mapped_column(String(16))
    configuration: Mapped[dict[str, Any] | None] = mapped_column(Json)
    configuration_version: Mapped[int] = mapped_column(Integer, default=0)
    configured_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (
        Index(
            "uq_tunnels_living_name", "account_id", "name", unique=True, sqlite_where=_ALIVE, postgresql_where=_ALIVE
        ),
        Index("ix_tunnels_created_at", "account_id", "created_at", "id"),
    )


class VirtualNetwork(Base):
    """A set of addresses of its own, so that two tunnels may serve one network."""

    __tablename__ = "virtual_networks"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    comment: Mapped[str] = mapped_column(Text)
    is_default: Mapped[bool]
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (
        Index(
            "uq_virtual_networks_living_name", "account_id", "name", unique=True, sqlite_where=_ALIVE,
            postgresql_where=_ALIVE,
        ),
    )  # fmt: skip


class IpRoute(Base):
    """A network that a tunnel serves, within a virtual network."""

    __tablename__ = "ip_routes"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    network: Mapped[str] = mapped_column(String(43))
    family: Mapped[int]
    prefix: Mapped[int]
    first: Mapped[str] = mapped_column(String(32))
    "The first and last address in hexadecimal, so that a database can compare them."
    last: Mapped[str] = mapped_column(String(32))
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), index=True)
    virtual_network_id: Mapped[str] = mapped_column(ForeignKey("virtual_networks.id"), index=True)
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (
        Index(
            "uq_ip_routes_living_network", "virtual_network_id", "network", unique=True, sqlite_where=_ALIVE,
            postgresql_where=_ALIVE,
        ),
        Index("ix_ip_routes_addresses", "account_id", "family", "first", "last"),
    )  # fmt: skip


class HostnameRoute(Base):
    """A private name that a tunnel serves."""

    __tablename__ = "hostname_routes"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    hostname: Mapped[str] = mapped_column(String(255))
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), index=True)
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    deleted_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (
        Index(
            "uq_hostname_routes_living_name", "account_id", "hostname", unique=True, sqlite_where=_ALIVE,
            postgresql_where=_ALIVE,
        ),
    )  # fmt: skip


class DnsRecord(Base):
    """A public name. One CNAME to `<tunnel id>.cfargotunnel.com` routes visitors to that tunnel."""

    __tablename__ = "dns_records"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zones.id"))
    name: Mapped[str] = mapped_column(String(255), unique=True)
    type: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(String(255))
    ttl: Mapped[int]
    proxied: Mapped[bool]
    comment: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    modified_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_dns_records_zone", "zone_id", "name"),)


class Edge(Base):
    """An edge that reports here, and when it last did."""

    __tablename__ = "edges"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(255))
    seen_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    about: Mapped[dict[str, Any]] = mapped_column(Json, server_default="{}")
    "What else it says of itself: `visitors`."


class Connection(Base):
    """A connection of a connector that an edge holds, as that edge reported it."""

    __tablename__ = "connections"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    edge_id: Mapped[str] = mapped_column(ForeignKey("edges.id"), index=True)
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), index=True)
    client_id: Mapped[str] = mapped_column(String(36))
    client_version: Mapped[str] = mapped_column(String(255))
    arch: Mapped[str] = mapped_column(String(255))
    features: Mapped[list[str]] = mapped_column(Json)
    position: Mapped[int]
    "Its number at its connector, from 0."
    origin_ip: Mapped[str] = mapped_column(String(64))
    location: Mapped[str] = mapped_column(String(64))
    configuration_version: Mapped[int]
    opened_at: Mapped[datetime.datetime] = mapped_column(UtcTime)


class Activity(Base):
    """When a tunnel last began and ceased to have connections. Apart from the tunnel: reports must not delay edits."""

    __tablename__ = "tunnel_activity"
    tunnel_id: Mapped[str] = mapped_column(ForeignKey("tunnels.id"), primary_key=True)
    active_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    inactive_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)


class Feed(Base):
    """The number of the last change. One row; whoever changes something holds it until the change is there."""

    __tablename__ = "feed"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(BigInteger)


class Change(Base):
    """One change of what edges need to know, in the order in which changes took effect."""

    __tablename__ = "changes"
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(255))
    value: Mapped[dict[str, Any] | None] = mapped_column(Json)
    "None: the object is gone."


class AuditRecord(Base):
    """Who changed what. Written with the change, never changed."""

    __tablename__ = "audit_log"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32))
    zone_id: Mapped[str | None] = mapped_column(String(32))
    time: Mapped[datetime.datetime] = mapped_column(UtcTime)
    action: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    resource_type: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(String(255))
    request: Mapped[dict[str, Any] | None] = mapped_column(Json)
    response: Mapped[dict[str, Any] | None] = mapped_column(Json)
    token_id: Mapped[str] = mapped_column(String(32))
    token_name: Mapped[str] = mapped_column(String(255))
    ip_address: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    uri: Mapped[str] = mapped_column(Text)
    user_agent: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_audit_log_time", "account_id", "time", "id"),)
