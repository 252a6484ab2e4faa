"""Cap'n Proto RPC: one conversation, registration, and the calls of the edge."""
