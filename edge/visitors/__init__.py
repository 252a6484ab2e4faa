"""What visitors meet: HTTP/1.1 by Host, and TCP ports that stand for one hostname or address."""
