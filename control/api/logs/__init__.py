"""The login log, and Logpush."""
