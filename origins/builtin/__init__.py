"""Services that need no other program."""
