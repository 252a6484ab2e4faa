"""The options of the audit log, for both commands that run an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyconnector.edge.audit.flags import AuditFlags

Command = TypeVar("Command", bound="Callable[..., Any]")
_OPTIONS = (
    click.option("--audit-dir", default="", metavar="DIRECTORY",
                 help="Where each request is recorded (docs/access-edge.md)."),
    click.option("--audit-when-full", default="refuse", type=click.Choice(("go-on", "refuse")), show_default=True,
                 help="While nothing can be recorded: refuse everybody, or go on and lose records."),
    click.option("--audit-keep", default=0, type=click.IntRange(0, 100_000), metavar="N", show_default=True,
                 help="Files of 100 MiB to keep; 0 for all."),
    click.option("--audit-spool", default="4GiB", metavar="SIZE", show_default=True,
                 help="What may wait to be pushed beside the files that are kept."),
    click.option("--audit-to", multiple=True, metavar="URL", envvar="PYCONNECTOR_AUDIT_TO",
                 help="Push records to https://, s3:// or postgresql://. Repeatable; secrets go into the variable."),
)  # fmt: skip


def audit_options(command: Command) -> Command:
    """Give a command the options of the audit log."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_secrets(context: click.Context) -> None:
    """Stop where a destination with a secret was given as an argument.

    Raises:
        click.UsageError: so it is.
    """
    if context.get_parameter_source("audit_to") is not ParameterSource.COMMANDLINE:
        return
    from pyconnector.logpush.destinations import holds_secret  # only where an edge is run

    for text in context.params["audit_to"]:
        try:
            secret = holds_secret(text)
        except ValueError:
            continue  # it is no URL, which is told where it is used
        if secret:
            raise click.UsageError(
                "every user of this machine can read arguments: put a destination with secrets into "
                "PYCONNECTOR_AUDIT_TO (several apart by blanks)"
            )


def audit_flags(given: Mapping[str, Any], **changes: Any) -> AuditFlags:
    """Return the flags of the audit log among those of a command."""
    from pyconnector.edge.audit.flags import AuditFlags  # only where an edge is run

    names = AuditFlags.__dataclass_fields__
    return AuditFlags(**{name: given[name] for name in names} | changes)
