"""Counts of logins that all edges share: guesses at a PIN, and what counts once."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "login_counts",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("begun", sa.Float(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_counts"),
    )
    op.create_index("ix_login_counts_begun", "login_counts", ["begun"], unique=False)
