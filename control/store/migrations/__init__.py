"""Alembic's environment; `control.store.migrate` runs it."""
