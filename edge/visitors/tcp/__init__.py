"""Local TCP ports whose connections go through a tunnel."""
