"""The local control API of an edge: see, kill, refuse, inject faults, configure."""
