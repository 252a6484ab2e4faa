"""The keys of the ingress config as tables: the one source of parsing, JSON schema and docs."""
