"""The tables of logs. See `control.store.models`."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pyconnector.control.store.columns import Json, UtcTime
from pyconnector.control.store.models import Base


class LogpushJob(Base):
    """A job of Logpush. Its destination may hold secrets, which edges need: stored as it is."""

    __tablename__ = "logpush_jobs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(255))
    dataset: Mapped[str] = mapped_column(String(64))
    enabled: Mapped[bool]
    destination_conf: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    "Filter, output options and sizes of batches, by their names in the API."
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    version: Mapped[int] = mapped_column(Integer)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 as SQLAlchemy wants it
    # Numbers are not given again: an edge knows by them how far it is.
    __table_args__ = (Index("ix_logpush_jobs_account", "account_id", "id"), {"sqlite_autoincrement": True})


class EdgeLog(Base):
    """What an edge reported last of its records and of the jobs that it does."""

    __tablename__ = "edge_logs"
    edge_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    seen_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    records: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    "The last ones, the oldest first."
    jobs: Mapped[dict[str, dict[str, Any]]] = mapped_column(Json)
    "How each job is doing, by its id."


class AccessRequest(Base):
    """Somebody who was let in at an application, or was not."""

    __tablename__ = "access_requests"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    account_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime.datetime] = mapped_column(UtcTime)
    allowed: Mapped[bool]
    app_uid: Mapped[str] = mapped_column(String(36))
    user_email: Mapped[str] = mapped_column(String(255))
    ray_id: Mapped[str] = mapped_column(String(64))
    told: Mapped[dict[str, Any]] = mapped_column(Json)
    "Everything else, by its name in the API."

    __table_args__ = (Index("ix_access_requests_time", "account_id", "created_at", "id"),)
