"""`pyconnector access apply`: applications, policies, groups, tokens and routes as files (docs: access-files.md)."""
