"""What every origin's network I/O stands on: dialling, TLS, bounded reading."""
