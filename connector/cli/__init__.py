"""The command line: `run`, `edge`, `ingress validate`, `ingress rule`, `version`. A thin caller of the rooms."""

from pyconnector.connector.cli.commands import main

__all__ = ["main"]
