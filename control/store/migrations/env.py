"""Run the migrations on the connection that `control.store.migrate` gives, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
