"""What visitors meet: HTTP by Host, and TCP ports that stand for one hostname or address."""
