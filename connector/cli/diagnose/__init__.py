"""`tunnel diag`: what is known of a running connector, in one archive for whoever looks for a fault."""
