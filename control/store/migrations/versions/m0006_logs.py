"""Logs: Logpush jobs, what edges report of their records, and the login log."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and let tokens that may do everything do this too."""
    op.create_table(
        "logpush_jobs",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("destination_conf", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_logpush_jobs_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_logpush_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_logpush_jobs_account", "logpush_jobs", ["account_id", "id"], unique=False)
    op.create_table(
        "edge_logs",
        sa.Column("edge_id", sa.String(length=36), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("records", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("edge_id", name="pk_edge_logs"),
    )
    op.create_table(
        "access_requests",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("app_uid", sa.String(length=36), nullable=False),
        sa.Column("user_email", sa.String(length=255), nullable=False),
        sa.Column("ray_id", sa.String(length=64), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_requests"),
    )
    op.create_index("ix_access_requests_time", "access_requests", ["account_id", "created_at", "id"], unique=False)
    tokens = sa.table("api_tokens", sa.column("id", sa.String), sa.column("scopes", sa.Text))
    connection = op.get_bind()
    for token_id, text in connection.execute(sa.select(tokens.c.id, tokens.c.scopes)).all():
        scopes = json.loads(text)
        if {"tokens:edit", "access:edit", "audit:read"} <= set(scopes):
            changed = json.dumps([*scopes, "logs:read", "logs:edit"], separators=(",", ":"))
            connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(scopes=changed))
