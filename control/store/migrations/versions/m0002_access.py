"""Access: service tokens, applications, policies, groups, keys, organizations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str, length: int | None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length=length), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _table(name: str, *columns: sa.schema.SchemaItem, owner: str = "account_id", named: bool = True) -> None:
    op.create_table(
        name, *columns, sa.ForeignKeyConstraint([owner], ["accounts.id"], name=f"fk_{name}_{owner}"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )  # fmt: skip
    if named:
        op.create_index(f"ix_{name}_name", name, ["account_id", "name"], unique=False)


def upgrade() -> None:
    """Make the tables."""
    _table(
        "access_service_tokens",
        _text("id", 36), _text("account_id", 32), _text("client_id", 64), _text("name", 255),
        _text("secret_sha256", 64), _number("secret_version"), _text("previous_sha256", 64, nullable=True),
        _time("previous_expires_at", nullable=True), _text("duration", 64), _time("expires_at", nullable=True),
        _flag("enabled"), _text("role", 64), _text("labels", None), _text("owner", 255),
        _time("valid_after", nullable=True), _time("created_at"), _time("updated_at"), _number("version"),
        sa.UniqueConstraint("client_id", name="uq_access_service_tokens_client_id"),
    )  # fmt: skip
    op.create_table(
        "access_token_uses", _text("token_id", 36), _time("seen_at"),
        sa.PrimaryKeyConstraint("token_id", name="pk_access_token_uses"),
    )  # fmt: skip
    conditions = ("include", "require", "exclude")
    _table(
        "access_groups",
        _text("id", 36), _text("account_id", 32), _text("name", 255),
        *(_text(name, None) for name in conditions), _time("created_at"), _time("updated_at"), _number("version"),
    )  # fmt: skip
    _table(
        "access_policies",
        _text("id", 36), _text("account_id", 32), _text("name", 255), _text("decision", 16),
        _text("session_duration", 64, nullable=True), _number("revision"),
        *(_text(name, None) for name in conditions), _time("created_at"), _time("updated_at"), _number("version"),
    )  # fmt: skip
    _table(
        "access_applications",
        _text("id", 36), _text("account_id", 32), _text("name", 255), _text("aud", 64), _text("places", None),
        _text("policies", None), _text("session_duration", 64), _text("token_header", 64), _flag("identity_headers"),
        _time("valid_after", nullable=True), _time("created_at"), _time("updated_at"), _number("version"),
        sa.UniqueConstraint("aud", name="uq_access_applications_aud"),
    )  # fmt: skip
    _table(
        "access_keys",
        _text("id", 64), _text("account_id", 32), _text("private_pem", None), _text("certificate_pem", None),
        _text("state", 16), _time("created_at"), _time("current_since", nullable=True),
        _time("expires_at", nullable=True), named=False,
    )  # fmt: skip
    _table(
        "access_organizations",
        _text("id", 32), _text("name", 255), _text("auth_domain", 255), _text("session_duration", 64),
        _flag("deny_unmatched_requests"), _number("key_rotation_interval_days"), _time("created_at"),
        _time("updated_at"), _number("version"), owner="id", named=False,
    )  # fmt: skip
