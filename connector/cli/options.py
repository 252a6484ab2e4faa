"""Command line options made from the table of flags, so that file, environment and command line know the same names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from pyconnector.connector.cli.streams import as_text
from pyconnector.connector.config.flag_values import from_environment
from pyconnector.connector.config.flags import FLAGS, Flag, Kind

#: What the command itself answers.
_OWN_OPTIONS = frozenset({"-h", "--help", "-v", "-V", "--version"})
_INHERITED = "pyconnector.flags"
#: Flags by every long spelling; those of one letter have one dash everywhere.
_BY_SPELLING = {
    spelling: flag for flag in FLAGS.values() for spelling in (flag.name, *flag.aliases) if len(spelling) > 1
}


class FlagCommand(click.Command):
    """A command with an option for every flag of the table; those without a help text are accepted and not shown.

    The hundred options are made when the command is parsed, because three commands have them and one is run.
    """

    _has_flags = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`. Flags are understood as the reference writes them: `-name`, `--switch=true`."""
        rest, switches = _as_click_writes(args)
        left = super().parse_args(ctx, rest)
        ctx.params.update(switches)
        return left

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """See `click.Command`."""
        self.add_flags()
        return super().get_params(ctx)

    def add_flags(self) -> None:
        """Make the options, unless there are some."""
        if not self._has_flags:
            self._has_flags = True
            self.params += [_option(flag) for flag in FLAGS.values()]


class FlagGroup(FlagCommand, click.Group):
    """A group with the same options, which its commands inherit."""


class MainGroup(FlagGroup):
    """The command itself. Flags may stand before the name of a command, as `cloudflared service install` writes them.

    Their options are made only where there are some: most starts do without.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        if args and args[0].startswith("-") and args[0] not in _OWN_OPTIONS:
            super().add_flags()
        return super().parse_args(ctx, args)

    def add_flags(self) -> None:
        """Make none."""


def inherit(ctx: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags of this command and of those around it; the innermost counts. Those within inherit them."""
    found: dict[str, Any] = ctx.meta.get(_INHERITED, {}) | {
        name: value for name, value in given.items() if value not in (None, (), False)
    }
    ctx.meta[_INHERITED] = found
    return found


def _as_click_writes(args: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments with two dashes before every long name, and apart the switches that have a value."""
    rest: list[str] = []
    switches: dict[str, str] = {}
    for index, argument in enumerate(args):
        if argument == "--":
            return rest + args[index:], switches
        name, equals, value = argument.lstrip("-").partition("=")
        flag = _BY_SPELLING.get(name)
        if not argument.startswith("-") or (flag is None and name != "config"):
            rest.append(argument)
        elif equals and flag is not None and flag.kind is Kind.BOOL:
            switches[flag.name.replace("-", "_")] = value
        else:
            rest.append(f"--{name}{equals}{value}")
    return rest, switches


def overrides_of(given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the flags given on the command line (click's parameters) or by the environment, by flag name."""
    found: dict[str, Any] = dict(from_environment(os.environ if environ is None else environ))
    for parameter, value in given.items():
        name = parameter.replace("_", "-")
        if name in FLAGS and value not in (None, (), False):
            found[name] = value
    return {name: _as_texts(value) for name, value in found.items()}


def _as_texts(value: Any) -> Any:
    """Texts of a flag as the UTF-8 that they were meant to be; other values as they are."""
    if isinstance(value, str):
        return as_text(value)
    return tuple(map(_as_texts, value)) if isinstance(value, tuple) else value


def _option(flag: Flag) -> click.Option:
    names = [f"--{flag.name}", *(f"--{alias}" if len(alias) > 1 else f"-{alias}" for alias in flag.aliases)]
    text = flag.help
    if text and flag.env:
        text += f"  [env: {flag.env[0]}]"
    attributes: dict[str, Any] = {"help": text, "hidden": not flag.help}
    if flag.kind is Kind.BOOL:
        attributes |= {"is_flag": True, "default": False}
    else:
        attributes |= {
            "type": _type(flag),
            "metavar": flag.metavar or flag.kind.name,
            "multiple": flag.kind is Kind.TEXTS,
        }
    return click.Option([*names, flag.name.replace("-", "_")], **attributes)


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # no generic class in older releases


class _Words(_TextType):
    """Text for which a shell may offer some words. Which are right is judged with the rest of the config."""

    name = "text"

    def __init__(self, flag: str) -> None:
        self._flag = flag

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """See `click.ParamType`."""
        from pyconnector.connector.config.settings import CHOICES
        from pyconnector.connector.observe.log import LEVELS

        words = tuple(LEVELS) if self._flag == "loglevel" else CHOICES.get(self._flag, ())
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _type(flag: Flag) -> click.ParamType[Any]:
    if flag.metavar in ("FILE", "DIRECTORY", "PATH"):
        return click.Path(file_okay=flag.metavar != "DIRECTORY")
    return _Words(flag.name)
