"""What an edge says of itself beside its address: where visitors reach it, where other edges do."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Edges that are there report within seconds anew."""
    op.add_column("edges", sa.Column("about", sa.Text(), nullable=False, server_default="{}"))
