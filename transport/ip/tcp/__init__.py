"""TCP (RFC 9293) as the end that is connected to."""
