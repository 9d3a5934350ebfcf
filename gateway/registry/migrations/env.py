"""Alembic's entry: migrations run on the connection that `gateway.registry.migrate` hands over.

The caller has begun a transaction there: a migration is done whole, or not at all.
"""

from alembic import context

from gateway.registry.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
