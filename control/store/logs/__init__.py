"""What edges report of requests, and the jobs by which they push their records elsewhere."""
