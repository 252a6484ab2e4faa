"""Devices: Mesh addresses, and what comes over WireGuard."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. Service tokens that are there get their records when the control plane starts."""
    op.create_table(
        "devices",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token_id", sa.String(length=36), nullable=False),
        sa.Column("address", sa.BigInteger(), nullable=False),
        sa.Column("public_key", sa.String(length=44), nullable=True),
        sa.Column("server_key", sa.String(length=44), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("dns_address", sa.BigInteger(), nullable=True),
        sa.Column("name_range", sa.String(length=18), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_devices_account_id"),
        sa.ForeignKeyConstraint(["token_id"], ["access_service_tokens.id"], name="fk_devices_token_id"),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("address", name="uq_devices_address"),
        sa.UniqueConstraint("public_key", name="uq_devices_public_key"),
        sa.UniqueConstraint("port", name="uq_devices_port"),
    )
    op.create_index("ix_devices_created", "devices", ["account_id", "created_at", "id"], unique=False)
    op.create_index("ix_devices_token_id", "devices", ["token_id"], unique=False)
