"""One file for each migration, never changed once released."""
