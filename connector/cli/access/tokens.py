"""`pyconnector access token`, `login` and `curl`: tokens of applications, and curl with one.

A token or secret never stands in arguments, of our process or of curl, where every user of the machine could read it.
"""

from __future__ import annotations

import datetime
import os
import time
import webbrowser
from typing import TYPE_CHECKING, Any

import click

from pyconnector.agent.access.dial import client_context
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.login import Login
from pyconnector.agent.access.pages import Pages
from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.cli.access.given import credentials_of, place_of, proxy_for, refused
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.streams import has_screen
from pyconnector.connector.version import version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyconnector.agent.access.credentials import Fields
    from pyconnector.agent.access.place import Place


def user_agent() -> str:
    """What requests say of us."""
    return f"pyconnector/{version()}"


def login_for(place: Place, given: Mapping[str, Any]) -> Login:
    """Return what gets tokens for an application.

    Raises:
        AccessError: the authorities cannot be used.
    """
    pages = Pages(client_context(place, given.get("cacert")), user_agent(), proxy_for(place))
    return Login(pages=pages, clock=_now, fedramp=bool(given.get("fedramp")))


def print_token(given: Mapping[str, Any]) -> int:
    """Print the token for an application; return the exit code.

    Raises:
        ConfigError: the arguments make no sense.
        StartFailed: there is none.
    """
    place = place_of(given["url"] or given["app"] or "", given)
    credentials = credentials_of(given)
    narrowed = {"path": given["path"], "methods": given["methods"], "seconds": given["seconds"]}
    if any(narrowed.values()) and not credentials.has_service_token:
        raise refused("only the token for a service token can be narrowed: none is given")
    try:
        login = login_for(place, given)
        if credentials.has_service_token:
            token = login.for_service_token(place, credentials, narrowed)
        else:
            _, token = login.find(place)
    except AccessError as error:
        raise StartFailed(str(error)) from error
    if not token:
        raise StartFailed(
            "Unable to find token for provided application. Please run login command to generate token."
        )  # fmt: skip
    click.echo(token, nl=False)
    return CLEAN


def log_in(given: Mapping[str, Any]) -> int:
    """Log in by a browser and keep the token, unless a valid one is kept; return the exit code.

    Raises:
        ConfigError: the arguments make no sense.
        StartFailed: there is no token.
    """
    place = place_of(given["url"] or given["app"] or "", given)
    try:
        login = login_for(place, given)
        application, token = login.find(place)
        if token and not login.is_valid(place, token):
            login.store.drop(application)
            token = ""
        if not token:
            token = login.by_browser(place, application, _show, time.sleep)
            if not login.is_valid(place, token):
                raise AccessError("failed to verify token")
    except AccessError as error:
        raise StartFailed(str(error)) from error
    if given["quiet"]:
        return CLEAN
    if given["no_verbose"] or given["app"]:
        click.echo(token, nl=False)
    else:
        click.echo(f"Successfully fetched your token:\n\n{token}\n")
    return CLEAN


def run_curl(arguments: Sequence[str], given: Mapping[str, Any]) -> int:
    """Become curl, with the token or service token in its configuration.

    Raises:
        ConfigError: no URL is given.
        StartFailed: there is no token, or no curl.
    """
    allow = bool(arguments) and arguments[0] in {"--allow-request", "-ar"}
    arguments = list(arguments[allow:])
    if not arguments or arguments[0].startswith("-"):
        raise refused("the URL of the application comes first: pyconnector access curl URL [CURL-ARGUMENTS]")
    place = place_of(arguments[0], given)
    credentials = credentials_of(given)
    fields = credentials.identity_fields()
    if not fields:
        try:
            authorities = {"cacert": arguments[arguments.index("--cacert") + 1 :][0]} if "--cacert" in arguments else {}
            _, token = login_for(place, authorities).find(place)
        except (AccessError, IndexError) as error:
            if not allow:
                raise StartFailed(str(error)) from error
            token = ""
        if token:
            fields = (("Cf-Access-Token", token),)
        elif not allow:
            raise StartFailed(f"no token is kept for {place.host}: run `pyconnector access login {place.url}` first")
    return _become_curl(arguments, fields)


def _become_curl(arguments: list[str], fields: Fields) -> int:
    if fields and not os.path.isdir("/dev/fd"):
        raise StartFailed("this system has no /dev/fd, by which curl is told a secret that others cannot read")
    start = ["curl"]
    if fields:
        reading, writing = os.pipe()
        os.write(writing, _configuration(fields))  # well below what a pipe holds
        os.close(writing)
        os.set_inheritable(reading, True)
        start += ["--config", f"/dev/fd/{reading}"]
    # Nor does curl inherit what it needs not.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_SERVICE_TOKEN_")}
    try:
        os.execvpe("curl", [*start, *arguments], environment)
    except OSError as error:
        raise StartFailed(f"curl cannot be run: {error.strerror or error}") from error


def _configuration(fields: Fields) -> bytes:
    lines = []
    for name, value in fields:
        escaped = f"{name}: {value}".replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'header = "{escaped}"\n')
    return "".join(lines).encode("ascii")


def _show(url: str, code: str) -> None:
    click.echo(f"Log in by a browser:\n\n{url}\n\nThe code is {code}. Waiting for login...", err=True)
    if has_screen():
        webbrowser.open(url)


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()
