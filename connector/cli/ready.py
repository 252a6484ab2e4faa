"""`pyconnector ready`: is the connector connected whose metrics are served there? For health checks."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN, FAILED
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.config.flag_values import collect
from pyconnector.connector.config.problems import Problem
from pyconnector.connector.config.yaml_source import Source, read_source
from pyconnector.connector.observe.server.metrics_server import split_listen_address

#: Seconds that the connector has to answer.
TIMEOUT = 5.0
#: Bytes of the answer that are shown.
MAX_ANSWER_BYTES = 4096
#: Addresses to listen on that stand for every address, and where they are asked.
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ready(path: str | None, given: Mapping[str, Any]) -> int:
    """Print what the connector says of itself; return the exit code: 0 where it is connected.

    Raises:
        ConfigError: no address is given, or none that can be asked.
        StartFailed: nothing answers there.
    """
    host, port = _address(path, given)
    connection = http.client.HTTPConnection(_ANYWHERE.get(host, host), port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StartFailed(f"no connector answers at {host}:{port}: {reason.lower()}") from error
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        click.echo(answer)
        return CLEAN
    click.echo(f"not ready (status {response.status}): {answer}", err=True)
    return FAILED


def _address(path: str | None, given: Mapping[str, Any]) -> tuple[str, int]:
    problems: list[Problem] = []
    source = read_source(path) if path is not None else Source(file="")
    address = collect(source, overrides_of(given), problems, allow_unknown_keys=True).get("metrics")
    problems = [problem for problem in problems if not problem.warning]
    if problems:
        raise ConfigError(problems)
    if not address:
        raise ConfigError([Problem(message="give the address at which the connector serves its metrics: --metrics")])
    try:
        host, port = split_listen_address(address)
    except ValueError as error:
        raise ConfigError([Problem(message=f"--metrics: {error}")]) from error
    if not port:
        raise ConfigError([Problem(message=f"--metrics: {address} stands for any free port; name the one it has")])
    return host, port
