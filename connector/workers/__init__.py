"""Several processes that are one connector: `pyconnector run --workers N`."""
