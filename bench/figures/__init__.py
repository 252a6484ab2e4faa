"""What is read from processes, and how it is reported."""
