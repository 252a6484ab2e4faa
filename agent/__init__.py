"""What runs beside an agent or on a person's machine: a client of the private network, and a local proxy to it."""

from pyconnector.agent.blocking import local_proxy
from pyconnector.agent.client import Mesh, connect
from pyconnector.agent.errors import MeshError

__all__ = ["Mesh", "MeshError", "connect", "local_proxy"]
