"""The configuration in force: what it came from, and everything its rules need."""
