"""One file for each kind of object: what may be done to it, and what edges are told of it."""
