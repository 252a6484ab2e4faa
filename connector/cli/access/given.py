"""What the commands of `access` are given, as values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pyconnector.agent.access.credentials import Credentials, parse_fields
from pyconnector.agent.access.place import Place, connect_to, parse_place
from pyconnector.agent.outgoing import proxy_of_environment
from pyconnector.agent.token_file import TokenError, read_token
from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyconnector.transport.proxy.address import Proxy


def refused(error: Exception | str) -> ConfigError:
    """Return the error of a command whose arguments make no sense."""
    return ConfigError([Problem(message=str(error))])


def place_of(text: str, given: Mapping[str, Any]) -> Place:
    """Return the application that an argument names.

    Raises:
        ConfigError: it names none.
    """
    try:
        place = parse_place(text)
        return connect_to(place, given["connect_to"]) if given.get("connect_to") else place
    except ValueError as error:
        raise refused(error) from error


def credentials_of(given: Mapping[str, Any], destination: str = "", headers: Sequence[str] = ()) -> Credentials:
    """Return what is shown to the application.

    Raises:
        ConfigError: half a service token is given, two are, or a header is none.
    """
    client_id, secret = given["service_token_id"], given["service_token_secret"]
    try:
        if given["service_token_file"] is not None:
            if client_id or secret:
                raise refused("a service token is given twice: by --service-token-file, and by its id and secret")
            token = read_token(given["service_token_file"])
            client_id, secret = token.client_id, token.secret
        return Credentials(client_id=client_id, secret=secret, destination=destination, more=parse_fields(headers))
    except (ValueError, TokenError) as error:
        raise refused(error) from error


def proxy_for(place: Place) -> Proxy | None:
    """Return the proxy of the environment by which an application is reached; None for none.

    Raises:
        ConfigError: the environment names something else.
    """
    try:
        return proxy_of_environment(os.environ, *place.address)
    except ValueError as error:
        raise refused(error) from error
