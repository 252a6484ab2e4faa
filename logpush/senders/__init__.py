"""What takes a batch to its destination: one file for each kind, loaded where there is one of it."""
