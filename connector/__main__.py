"""`python -m connector` is `pyconnector`."""

from connector.cli import main

main()
