"""What can be seen of a connector: logs, access log, counters, metrics, status pages."""
