"""The edges of the mesh in DNS: connectors find them by the SRV records that a control plane serves."""
