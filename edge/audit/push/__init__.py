"""Pushes what is in the files of the audit log to other places: they are the spool, and nothing waits in memory."""
