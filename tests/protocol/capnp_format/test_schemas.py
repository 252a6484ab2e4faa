"""Our schema files, by the library: the ids of everything that travels (wire.md 4)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyconnector.protocol.capnp_format import schemas
from pyconnector.protocol.rpc import edge_rpc, registration

STREAM = {
    "ConnectRequest": (0xC47116A1045E4061, 8, 2),
    "Metadata": (0xE1446B97BFD1CD37, 0, 2),
    "ConnectResponse": (0xB1032EC91CEF8727, 0, 2),
}
TUNNEL = {
    "TunnelAuth": (0x9496331AB9CD463F, 0, 2),
    "ClientInfo": (0x83CED0145B2F114B, 0, 4),
    "ConnectionOptions": (0xB4BF9861FE035D04, 8, 2),
    "ConnectionResponse": (0xDBAA9D03D52B62DC, 8, 1),
    "ConnectionError": (0xF5F383D2785EDB86, 16, 1),
    "ConnectionDetails": (0xB5F39F082B9AC18A, 8, 2),
    "RegisterUdpSessionResponse": (0xAB6D5210C1F26687, 0, 2),
    "UpdateConfigurationResponse": (0xDB58FF694BA05CF9, 8, 1),
}
METHODS = {
    ("RegistrationServer", "registerConnection"): (0xE6646DEC8FEAA6EE, 0xEA50D822450D1F17),
    ("RegistrationServer", "unregisterConnection"): (0xF9CB7F4431A307D0, 0xB046E578094B1EAD),
    ("RegistrationServer", "updateLocalConfiguration"): (0xC5D6E311876A3604, 0xE5CEAE5D6897D7BE),
    ("SessionManager", "registerUdpSession"): (0x904E297B87FBECEA, 0x8635C6B4F45BF5CD),
    ("SessionManager", "unregisterUdpSession"): (0x96B74375CE9B0EF6, 0xF24EC4AB5891B676),
    ("ConfigurationManager", "updateConfiguration"): (0xB177CA2526A3CA76, 0x958096448EB3373E),
}


@pytest.mark.parametrize(("name", "layout"), STREAM.items())
def test_layout_of_stream_structs(name: str, layout: tuple[int, int, int]) -> None:
    node = getattr(schemas.stream(), name).schema.node
    assert (node.id, node.struct.dataWordCount * 8, node.struct.pointerCount) == layout


@pytest.mark.parametrize(("name", "layout"), TUNNEL.items())
def test_layout_of_tunnel_structs(name: str, layout: tuple[int, int, int]) -> None:
    node = getattr(schemas.tunnel(), name).schema.node
    assert (node.id, node.struct.dataWordCount * 8, node.struct.pointerCount) == layout


@pytest.mark.parametrize(("place", "ids"), METHODS.items())
def test_ids_of_methods(place: tuple[str, str], ids: tuple[int, int]) -> None:
    method = getattr(schemas.tunnel(), place[0]).schema.methods[place[1]]
    assert (method.param_type.node.id, method.result_type.node.id) == ids


def test_ids_of_interfaces() -> None:
    tunnel = schemas.tunnel()
    assert tunnel.RegistrationServer.schema.node.id == registration.INTERFACE == 0xF71695EC7FE85497
    assert tunnel.SessionManager.schema.node.id == edge_rpc.SESSION_MANAGER == 0x839445A59FB01686
    assert tunnel.ConfigurationManager.schema.node.id == edge_rpc.CONFIGURATION_MANAGER == 0xB48EDFBDAA25DB04
    assert tunnel.CloudflaredServer.schema.node.id == 0xF548CEF9DEA2A4A1


def test_no_other_module_needs_the_library() -> None:
    modules = (
        "streams.openings http.headers tokens rpc.registration rpc.edge_rpc datagrams capnp_format.schemas".split()
    )
    imports = "".join(f"import pyconnector.protocol.{module}\n" for module in modules)
    code = f"import sys\n{imports}assert 'capnp' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
