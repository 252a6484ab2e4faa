"""The schema files of this room, loaded through pycapnp: the oracle of the hand-written codecs.

No other file imports pycapnp, and nothing in the product imports this one: only tests and tools do, on bytes they made.
A peer's bytes never come here, because a broken message can end the whole process in that library (to_dict of an rpc
Message whose union is null recurses until the stack is gone; a failed import calls terminate), and because loading it
costs an idle connector 6 MiB and 10 ms.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parent / "schema"


@cache
def _library() -> Any:
    import capnp  # as late as can be: see above

    capnp.remove_import_hook()
    return capnp


@cache
def stream() -> Any:
    """Return the module of schema/stream.capnp: ConnectRequest, ConnectResponse."""
    return _library().load(str(_DIRECTORY / "stream.capnp"))


@cache
def tunnel() -> Any:
    """Return the module of schema/tunnel.capnp: what the RPC methods carry."""
    return _library().load(str(_DIRECTORY / "tunnel.capnp"))


@cache
def rpc() -> Any:
    """Return the module of the library's own rpc.capnp: the RPC protocol itself."""
    library = _library()
    package = Path(library.__file__).parent
    return library.load(str(package / "rpc.capnp"), imports=[str(package.parent)])
