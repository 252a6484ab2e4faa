"""The rows of a run, section by section."""
