"""Display names of enrollment groups."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "enrollment_groups", sa.Column("display_name", sa.String(255), nullable=False, server_default="")
    )


def downgrade() -> None:
    op.drop_column("enrollment_groups", "display_name")
