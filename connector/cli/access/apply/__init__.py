"""`pyconnector access apply`: applications, policies, tokens, routes as files (docs/guide/access-files.md)."""
