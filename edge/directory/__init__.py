"""What an edge knows of tunnels, names and routes from a control plane: in memory, asked synchronously on the route."""

from pyconnector.edge.directory.directory import Directory

__all__ = ["Directory"]
