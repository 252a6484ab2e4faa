"""Whether the network carries the connections: paths that are dead or lossy, and changes of this machine's own."""
