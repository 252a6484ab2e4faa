"""Exit codes, and the one place that turns errors into a sentence on stderr and a code.

0 clean; 1 failure at run time; 2 bad usage or config.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from pyconnector.connector.api.errors import ConfigError, ConnectorError

CLEAN = 0
FAILED = 1
BAD_CONFIG = 2


def exit_with(action: Callable[[], int]) -> None:
    """Run `action` and leave the process with the code it returns, or that of the error it raises."""
    try:
        code = action()
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"warning: {problem}" if problem.warning else str(problem), err=True)
        code = BAD_CONFIG
    except ConnectorError as error:
        click.echo(f"error: {error}", err=True)
        code = FAILED
    except KeyboardInterrupt:
        code = FAILED
    except BrokenPipeError:
        # Whoever read the output has gone; there is no one left to tell.
        sys.stderr.close()
        code = FAILED
    sys.exit(code)
