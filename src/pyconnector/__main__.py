"""`python -m pyconnector` is `pyconnector`."""

from __future__ import annotations

import gc


def start() -> None:
    """Run the command line.

    Nothing that is made while modules load is garbage, so the collector does not look for any until the event loop
    runs (`connector.cli.loops`). It would take a tenth of the time to the first registration.
    """
    gc.disable()
    from pyconnector.connector.cli import main

    main()


if __name__ == "__main__":
    start()
