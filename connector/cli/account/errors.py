"""How these commands fail: as the reference does, with its exit codes (api.md 4)."""

from __future__ import annotations

from typing import IO, Any

import click

USAGE = 255
FAILED = 1


class CommandFailed(click.ClickException):
    """A command that could not do what it should. Its text goes to stderr as it is."""

    exit_code = FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the text."""
        click.echo(self.message, err=True)


class WrongUsage(CommandFailed):
    """A command with arguments that it does not take."""

    exit_code = USAGE

    def __init__(self, command: str, message: str) -> None:
        super().__init__(f"{message}\nSee 'pyconnector {command} --help'.")
