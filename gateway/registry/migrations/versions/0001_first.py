"""Devices, enrollment groups, individual enrollments, templates, twins."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(148), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_before_block", sa.String(16)),
        sa.Column("template_id", sa.String(2048)),
        sa.Column("template_assigned_by", sa.String(16)),
        sa.Column("model_id", sa.String(2048)),
        sa.Column("model_announced_by", sa.String(8)),
        sa.Column("enrollment_group", sa.String(255)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("assigned_at", sa.Float),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_index("devices_by_template", "devices", ["template_id", "id"])
    op.create_index("devices_by_model", "devices", ["model_id", "id"])
    op.create_table(
        "enrollment_groups",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("attestation", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("auto_approve", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "individual_enrollments",
        sa.Column("registration_id", sa.String(128), primary_key=True),
        sa.Column("attestation", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "templates",
        sa.Column("id", sa.String(2048), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "twins",
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("desired_version", sa.Integer, nullable=False),
        sa.Column("reported", sa.Text, nullable=False),
        sa.Column("reported_version", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("twins", "templates", "individual_enrollments", "enrollment_groups", "devices"):
        op.drop_table(table)
