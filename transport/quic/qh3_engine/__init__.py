"""The qh3 engine (Rust core)."""
