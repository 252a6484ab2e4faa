"""The local HTTP server for machines and people that watch this one, and the pages that it shows."""
