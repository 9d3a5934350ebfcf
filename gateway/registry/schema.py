"""The tables. Alembic's migrations (`registry/migrations/`) make them; a test compares the two."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

__all__ = [
    "api_tokens",
    "audit",
    "devices",
    "enrollment_groups",
    "individual_enrollments",
    "metadata",
    "templates",
    "twins",
]

metadata = MetaData()

devices = Table(
    "devices",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("name", String(148), nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_before_block", String(16)),
    Column("template_id", String(2048)),
    Column("template_assigned_by", String(16)),
    Column("model_id", String(2048)),
    Column("model_announced_by", String(8)),
    Column("enrollment_group", String(255)),
    Column("tags", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("assigned_at", Float),
    Column("etag", String(32), nullable=False),
    Index("devices_by_template", "template_id", "id"),
    Index("devices_by_model", "model_id", "id"),
)

enrollment_groups = Table(
    "enrollment_groups",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("display_name", String(255), nullable=False, server_default=""),
    Column("attestation", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("auto_approve", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("etag", String(32), nullable=False),
)

individual_enrollments = Table(
    "individual_enrollments",
    metadata,
    Column("registration_id", String(128), primary_key=True),
    Column("attestation", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("etag", String(32), nullable=False),
)

templates = Table(
    "templates",
    metadata,
    Column("id", String(2048), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("source", String(16), nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("etag", String(32), nullable=False),
)

twins = Table(
    "twins",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("desired", Text, nullable=False),
    Column("desired_version", Integer, nullable=False),
    Column("reported", Text, nullable=False),
    Column("reported_version", Integer, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

# A number is never used twice, so that a page's cursor stays where it was when old records are dropped.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String(300), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("target", String(2048)),
    Column("arguments", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Index("audit_by_time", "at"),
    Index("audit_by_target", "target", "id"),
    sqlite_autoincrement=True,
)
