"""Exit codes, and the one place that turns errors into a sentence on stderr and a code.

0 clean; 1 failure at run time; 2 bad usage or config.
"""

from __future__ import annotations

import contextlib
import os
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
    except OSError as error:
        code = exit_of_output(error)
    sys.exit(code)


def reason_of(error: OSError) -> str:
    """Say why in the system's words; where it listens, Python adds the address as it writes a tuple."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror or str(error)


def exit_of_output(error: OSError) -> int:
    """Say that the output could not be written, unless its reader has gone; return the exit code."""
    if not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):
            click.echo(f"error: cannot write the output: {(error.strerror or str(error)).lower()}", err=True)
    _give_up_output()
    return FAILED


def _give_up_output() -> None:
    """Let what is still buffered go nowhere: Python writes it at the end, and where that fails exits with 120."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
