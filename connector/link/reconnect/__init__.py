"""When a connection is made, made again or replaced: one supervisor for all indices, a slot and a backoff for each."""
