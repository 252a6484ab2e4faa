"""The tables of Access, as those of `control.store.models`."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pyconnector.control.store.columns import Json, UtcTime
from pyconnector.control.store.models import Base


class ServiceToken(Base):
    """What an agent shows to be let in. Only digests of its secrets are kept."""

    __tablename__ = "access_service_tokens"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    client_id: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(255))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    secret_version: Mapped[int]
    previous_sha256: Mapped[str | None] = mapped_column(String(64))
    previous_expires_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    duration: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    enabled: Mapped[bool]
    role: Mapped[str] = mapped_column(String(64))
    labels: Mapped[list[str]] = mapped_column(Json)
    owner: Mapped[str] = mapped_column(String(255))
    valid_after: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    "What was issued for it earlier is worth nothing."
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_access_service_tokens_name", "account_id", "name"),)


class TokenUse(Base):
    """When a service token was last used. Apart from the token: reports of edges must not delay edits."""

    __tablename__ = "access_token_uses"
    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    seen_at: Mapped[datetime.datetime] = mapped_column(UtcTime)


class _Conditions:
    include: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    require: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    exclude: Mapped[list[dict[str, Any]]] = mapped_column(Json)


class Group(_Conditions, Base):
    """Conditions with a name, for several policies."""

    __tablename__ = "access_groups"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_access_groups_name", "account_id", "name"),)


class Policy(_Conditions, Base):
    """Who may pass."""

    __tablename__ = "access_policies"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    decision: Mapped[str] = mapped_column(String(16))
    session_duration: Mapped[str | None] = mapped_column(String(64))
    revision: Mapped[int]
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_access_policies_name", "account_id", "name"),)


class Application(Base):
    """A place that is guarded: hosts and paths, and the policies of who may pass."""

    __tablename__ = "access_applications"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    aud: Mapped[str] = mapped_column(String(64), unique=True)
    places: Mapped[list[str]] = mapped_column(Json)
    "Hosts with paths, the primary one first."
    policies: Mapped[list[str]] = mapped_column(Json)
    "Their ids, in order."
    session_duration: Mapped[str] = mapped_column(String(64))
    token_header: Mapped[str] = mapped_column(String(64))
    identity_headers: Mapped[bool]
    allowed_idps: Mapped[list[str]] = mapped_column(Json)
    auto_redirect_to_identity: Mapped[bool]
    valid_after: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_access_applications_name", "account_id", "name"),)


class IdentityProvider(Base):
    """By what people log in. `config` holds its client secret as it is, since edges need it."""

    __tablename__ = "access_identity_providers"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    type: Mapped[str] = mapped_column(String(16))
    config: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_access_identity_providers_name", "account_id", "name"),)


class User(Base):
    """A person who logged in at an edge, or whose sessions were revoked."""

    __tablename__ = "access_users"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(255))
    valid_after: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    "Sessions that began earlier are worth nothing."
    last_successful_login: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)

    __table_args__ = (Index("ix_access_users_email", "account_id", "email", unique=True),)


class EndedSession(Base):
    """A session that its person ended, for as long as tokens of it could still be shown."""

    __tablename__ = "access_ended_sessions"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    expires_at: Mapped[datetime.datetime] = mapped_column(UtcTime)


class SigningKey(Base):
    """A key that edges sign tokens with. Stored as it is, since edges need it."""

    __tablename__ = "access_keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    private_pem: Mapped[str] = mapped_column(Text)
    certificate_pem: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    "`next`, then `current`, then `previous`."
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    current_since: Mapped[datetime.datetime | None] = mapped_column(UtcTime)
    expires_at: Mapped[datetime.datetime | None] = mapped_column(UtcTime)


class Organization(Base):
    """What holds for all applications of an account."""

    __tablename__ = "access_organizations"
    id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    auth_domain: Mapped[str] = mapped_column(String(255))
    session_duration: Mapped[str] = mapped_column(String(64))
    deny_unmatched_requests: Mapped[bool]
    key_rotation_interval_days: Mapped[int]
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it


class NetworkRule(Base):
    """Who may reach what in the private networks. Rules of lower precedence are asked first."""

    __tablename__ = "network_rules"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    precedence: Mapped[int]
    enabled: Mapped[bool]
    rule: Mapped[dict[str, Any]] = mapped_column(Json)
    "As `identity.network_rules.parse_rule` reads it."
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    __table_args__ = (Index("ix_network_rules_precedence", "account_id", "precedence", "id"),)


class Grant(Base):
    """Leave to read one path under one service token, for a while. What is deleted ends at once."""

    __tablename__ = "access_grants"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    token_id: Mapped[str] = mapped_column(String(36))
    token_name: Mapped[str] = mapped_column(String(255))
    application_id: Mapped[str] = mapped_column(String(36))
    host: Mapped[str] = mapped_column(String(255))
    path: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    expires_at: Mapped[datetime.datetime] = mapped_column(UtcTime)

    __table_args__ = (Index("ix_access_grants_created", "account_id", "created_at", "id"),)


class LoginCount(Base):
    """How often something of a login was done, at all edges together."""

    __tablename__ = "login_counts"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    "Its kind and a digest."
    begun: Mapped[float]
    "Of the first one, in seconds since the epoch."
    number: Mapped[int]

    __table_args__ = (Index("ix_login_counts_begun", "begun"),)
