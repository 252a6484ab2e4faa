"""Who may pass: tokens, keys, policies. Pure."""
