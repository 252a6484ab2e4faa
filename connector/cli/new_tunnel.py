"""`pyconnector edge new-tunnel FILE`: credentials of a tunnel that an edge of one's own is told of."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import uuid

import click

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.cli.exits import CLEAN

#: Account that such a tunnel belongs to.
ACCOUNT = "local"
#: Permissions of the file: it holds a secret that is never changed.
FILE_MODE = 0o400


def new_tunnel(path: str) -> int:
    """Write the credentials file, readable by its owner alone; return the exit code.

    Raises:
        StartFailed: it cannot be written, or there is one already.
    """
    tunnel_id = str(uuid.uuid4())
    credentials = {
        "AccountTag": ACCOUNT,
        "TunnelSecret": base64.b64encode(secrets.token_bytes(32)).decode(),
        "TunnelID": tunnel_id,
        "Endpoint": "",
    }
    text = json.dumps(credentials, indent=2) + "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        raise StartFailed(f"{path} is there already and is left as it is") from None
    except OSError as error:
        raise StartFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    quoted = shlex.quote(path)
    click.echo(
        f"{path}: credentials of tunnel {tunnel_id}\n"
        f"  pyconnector edge --tunnel {quoted}\n"
        f"  pyconnector run --credentials-file {quoted} --url http://localhost:8000 --edge ... --cacert ..."
    )
    return CLEAN
