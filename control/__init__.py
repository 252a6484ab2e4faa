"""The control plane: tunnels, routes and names as objects, for one machine or many. Needs the extra `mesh`."""
