"""The aioquic engine (pure Python)."""
