"""Private names for devices that speak IP: a DNS server on a Mesh address, and the addresses that stand for names."""
