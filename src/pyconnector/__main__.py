"""`python -m pyconnector` is `pyconnector`."""

from __future__ import annotations

import gc
import os
import sys


def start() -> None:
    """Run the command line.

    Nothing that is made while modules load is garbage, so the collector does not look for any until the event loop
    runs (`connector.cli.loops`). It would take a tenth of the time to the first registration.
    """
    gc.disable()
    from pyconnector.connector.cli.streams import open_standard_streams

    open_standard_streams()
    from pyconnector.connector.cli import main
    from pyconnector.connector.cli.exits import exit_of_output

    try:
        main(prog_name=_name())
    except OSError as error:  # of `--help` and `version`, which write without more ado
        sys.exit(exit_of_output(error))


def _name() -> str:
    """What this is called here: `cloudflared` through a link of that name, which scripts for it go on using."""
    name = os.path.basename(sys.argv[0])
    return name if name == "cloudflared" else "pyconnector"


if __name__ == "__main__":
    start()
