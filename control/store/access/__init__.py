"""Objects of Access: service tokens, applications, policies, groups, keys, the organization."""
