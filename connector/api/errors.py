"""Errors of the connector room, by who must act.

ConnectorError
├── ConfigError           the config cannot be used; `problems` lists every problem   (caught by the CLI, exit 2)
├── StartFailed           nothing could be started                                  (caught by the CLI, exit 1)
│   └── EdgeNotFound      the edge's name cannot be looked up now                   (caught by `Connector.start`)
├── RegistrationRefused   the edge said no                                          (caught by the supervisor, the CLI)
├── RegistrationFailed    the registration conversation broke                       (caught by the supervisor)
└── ReloadRejected        a new config was refused, the old one stays in force      (caught by the CLI)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.connector.config.problems import Problem
    from pyconnector.protocol.rpc.registration import Refusal


class ConnectorError(Exception):
    """Root of everything the connector raises on purpose. Its text is fit for a user and holds no secret."""


class ConfigError(ConnectorError):
    """A config cannot be used. The text has one line per problem: `file:line:column: path: message`.

    `problems` holds the warnings too.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems if not problem.warning))
        self.problems = tuple(problems)


class StartFailed(ConnectorError):
    """Something that must exist before the first connection could not be had."""


class EdgeNotFound(StartFailed):
    """No name of the edge could be looked up. It may be found later: a machine that starts may have no network yet."""


class RegistrationRefused(ConnectorError):
    """The edge refused to register a connection."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"the edge refused the registration: {refusal.cause or 'it gave no reason'}")
        self.refusal = refusal


class RegistrationFailed(ConnectorError):
    """The registration conversation broke, or took too long."""


class ReloadRejected(ConnectorError):
    """A new configuration could not be put in force; the one before stays."""
