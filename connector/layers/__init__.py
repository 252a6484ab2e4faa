"""What stands around an origin because a rule asks for it."""
