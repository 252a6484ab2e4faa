"""`pyconnector edge new-token NAME FILE`: a service token for an edge of one's own that has a gateway."""

from __future__ import annotations

import json
import os
import secrets

import click

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.identity.service_tokens import ENTROPY_BYTES, digest, make_secret

#: Permissions of the file: it holds a secret.
FILE_MODE = 0o600


def new_token(name: str, path: str) -> int:
    """Write id and secret to a file, readable by its owner alone, and say what the edge is told; return the exit code.

    Raises:
        StartFailed: the file cannot be written, or there is one already.
    """
    client_id, secret = f"{secrets.token_hex(16)}.access", make_secret(secrets.token_bytes(ENTROPY_BYTES))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(json.dumps({"client_id": client_id, "client_secret": secret}, indent=2) + "\n")
    except FileExistsError:
        raise StartFailed(f"{path} is there already and is left as it is") from None
    except OSError as error:
        raise StartFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    entry = {"client_id": client_id, "name": name, "secret_sha256": digest(secret).hex()}
    click.echo(f"{path}: the token, for its owner alone\nAmong gateway.tokens of the edge's --private-network file:")
    click.echo(json.dumps(entry))
    return CLEAN
