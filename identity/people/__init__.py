"""People: who they are by their login, and the identity providers that say so. Pure."""
