"""Rules and what they decide about a request."""
