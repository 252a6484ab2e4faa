"""Command line options made from the table of flags, so that file, environment and command line know the same names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from pyconnector.connector.config.flag_values import from_environment
from pyconnector.connector.config.flags import FLAGS, Flag, Kind


class FlagCommand(click.Command):
    """A command with an option for every flag of the table; those without a help text are accepted and not shown.

    The hundred options are made when the command is parsed, because three commands have them and one is run.
    """

    _has_flags = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """See `click.Command`."""
        if not self._has_flags:
            self._has_flags = True
            self.params += [_option(flag) for flag in FLAGS.values()]
        return super().get_params(ctx)


class FlagGroup(FlagCommand, click.Group):
    """A group with the same options."""


def overrides_of(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the flags given on the command line (click's parameters) or by the environment, by flag name."""
    found: dict[str, Any] = dict(from_environment(os.environ if environ is None else environ))
    for parameter, value in given.items():
        name = parameter.replace("_", "-")
        if name in FLAGS and value not in (None, (), False):
            found[name] = value
    return found


def _option(flag: Flag) -> click.Option:
    names = [f"--{flag.name}", *(f"--{alias}" if len(alias) > 1 else f"-{alias}" for alias in flag.aliases)]
    text = flag.help
    if text and flag.env:
        text += f"  [env: {flag.env[0]}]"
    attributes: dict[str, Any] = {"help": text, "hidden": not flag.help}
    if flag.kind is Kind.BOOL:
        attributes |= {"is_flag": True, "default": False}
    else:
        attributes |= {"type": str, "metavar": flag.metavar or flag.kind.name, "multiple": flag.kind is Kind.TEXTS}
    return click.Option([*names, flag.name.replace("-", "_")], **attributes)
