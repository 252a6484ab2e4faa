"""People who log in: identity providers, users, ended sessions, and which providers an application allows."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _account(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{name}_account_id")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False)


def upgrade() -> None:
    """Make the tables and columns."""
    providers, users, ended = "access_identity_providers", "access_users", "access_ended_sessions"
    op.create_table(
        providers, _text("id", 36), _text("account_id", 32), _text("name", 255), _text("type", 16),
        sa.Column("config", sa.Text(), nullable=False), _time("created_at"), _time("updated_at"),
        sa.Column("version", sa.Integer(), nullable=False),
        _account(providers), sa.PrimaryKeyConstraint("id", name=f"pk_{providers}"),
    )  # fmt: skip
    op.create_index(f"ix_{providers}_name", providers, ["account_id", "name"], unique=False)
    op.create_table(
        users, _text("id", 36), _text("account_id", 32), _text("email", 254), _text("name", 255),
        _time("valid_after", nullable=True), _time("last_successful_login", nullable=True), _time("created_at"),
        _time("updated_at"), _account(users), sa.PrimaryKeyConstraint("id", name=f"pk_{users}"),
    )  # fmt: skip
    op.create_index(f"ix_{users}_email", users, ["account_id", "email"], unique=True)
    op.create_table(
        ended, _text("id", 64), _text("account_id", 32), _time("expires_at"),
        _account(ended), sa.PrimaryKeyConstraint("id", name=f"pk_{ended}"),
    )  # fmt: skip
    op.add_column("access_applications", sa.Column("allowed_idps", sa.Text(), nullable=False, server_default="[]"))
    op.add_column(
        "access_applications",
        sa.Column("auto_redirect_to_identity", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
