"""Where the edge is: addresses given by the user or found in DNS, and which connection dials which."""
