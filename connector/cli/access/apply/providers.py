"""Identity providers as files have them; their secrets are in the environment or in files of their own."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pyconnector.identity.people.providers import ProviderError, parse_provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.connector.config.problems import Path

KEYS = ("name", "type", "config")
#: Where a secret is, in place of the secret itself.
_FILE, _VARIABLE, _SECRET = "client_secret_file", "client_secret_env", "client_secret"
_MAX_SECRET = 4096


def read_provider(
    at: Path, row: dict[str, Any], directory: FilePath, wrong: Callable[[Path, str], None]
) -> dict[str, Any] | None:
    """Return what a file in `directory` says of a provider; its secret apart, since no plan shows it."""
    config = row.get("config") or {}
    if not isinstance(config, dict):
        wrong((*at, "config"), "an object with keys is wanted")
        return None
    config = dict(config)
    if len({_FILE, _VARIABLE, _SECRET} & set(config)) > 1:
        wrong((*at, "config"), f"one of {_SECRET}, {_FILE} and {_VARIABLE} says the secret")
        return None
    try:
        secret = _secret(config, directory)
        whole = config if secret is None else config | {_SECRET: secret}
        parse_provider("", {"name": row.get("name"), "type": row.get("type"), "config": whole})
    except (ProviderError, ValueError) as error:
        wrong(at, str(error))
        return None
    return {"name": row.get("name"), "type": row["type"], "config": config, "secret": secret}


def told_provider(row: dict[str, Any]) -> dict[str, Any]:
    """Return a provider of the API as a file would say it, without its secret."""
    config = {key: value for key, value in (row.get("config") or {}).items() if key != _SECRET}
    return {"type": row.get("type"), "config": config, "secret": None}


def body_of(name: str, said: dict[str, Any], shown: dict[str, Any] | None) -> dict[str, Any]:
    """Return what the API is sent; `shown` is what it shows of the provider: a secret of that stays as it is."""
    config = dict(said["config"])
    if said["secret"] is not None:
        config[_SECRET] = said["secret"]
    elif shown is not None and _SECRET in (shown.get("config") or {}):
        config[_SECRET] = shown["config"][_SECRET]
    return {"name": name, "type": said["type"], "config": config}


def _secret(config: dict[str, Any], directory: FilePath) -> str | None:
    """Take the secret out of a config; None where it says nothing of one.

    Raises:
        ValueError: it is not where the config says.
    """
    if _FILE in config:
        name = str(config.pop(_FILE))
        try:
            with (directory / FilePath(name).expanduser()).open(encoding="utf-8") as file:
                text = file.read(_MAX_SECRET).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{_FILE} {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not text:
            raise ValueError(f"{_FILE} {name} is empty")
        return text
    if _VARIABLE in config:
        variable = str(config.pop(_VARIABLE))
        found = os.environ.get(variable, "")
        if not found:
            raise ValueError(f"{_VARIABLE}: the variable {variable} is not set")
        return found
    given = config.pop(_SECRET, None)
    if given is not None and not isinstance(given, str):
        raise ValueError(f"{_SECRET} is a text")
    return given
