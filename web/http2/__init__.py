"""What every end of HTTP/2 here needs, pure: frames cut out and priced, budgets, field sections, the library."""
