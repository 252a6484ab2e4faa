"""The management service of a connector: its log, its figures and what it runs on, over the tunnel and by token."""
