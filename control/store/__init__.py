"""The database of the control plane: its tables, and what may be done to each kind of object."""
