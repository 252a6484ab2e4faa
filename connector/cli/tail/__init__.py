"""`tail`: the log of a connector elsewhere, and tokens for its management service."""
