"""Make up a tunnel for a local edge: `python examples/make_credentials.py [FILE]` writes its credentials file.

The edge of a provider gives out credentials itself; this is for `pyconnector edge`, which believes any it is told of.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import uuid


def main(path: str = "credentials.json") -> int:
    """Write the file, readable by its owner alone, unless it is there already."""
    credentials = {
        "AccountTag": "local",
        "TunnelSecret": base64.b64encode(secrets.token_bytes(32)).decode(),
        "TunnelID": str(uuid.uuid4()),
        "Endpoint": "",
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        print(f"{path} is there already and is left as it is", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w") as file:
        json.dump(credentials, file, indent=2)
    print(f"{path}: credentials of tunnel {credentials['TunnelID']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
