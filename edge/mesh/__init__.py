"""Other edges of the same mesh: a request for a tunnel that is connected there goes there, in one hop."""
