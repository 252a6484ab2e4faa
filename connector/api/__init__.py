"""The embedding API: `Connector`, its events, its errors, and what it says of its connections."""
