"""TUN devices, and what the system is told about them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from pyconnector.agent.interface.device import Tun, TunError
from pyconnector.agent.interface.system import InterfaceSettings, Wanted
from tests.support.houses.namespaces import run_in_own_network, why_not

WHY_NOT = why_not() or ("" if os.path.exists("/dev/net/tun") else "there is no /dev/net/tun")
in_namespaces = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "TUN devices can be made")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


@in_namespaces
def test_addresses_and_routes_are_as_wanted_and_go_with_the_interface() -> None:
    async def scenario() -> None:
        tun = Tun("pycx%d")
        settings = InterfaceSettings(tun.name)
        await settings.start(1280)
        first = Wanted((ip_address("100.96.0.2"),), (ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16")))
        await settings.change(first)
        assert "10.1.0.0/16" in output("ip", "route")
        await settings.change(Wanted((ip_address("100.96.0.3"),), (ip_network("10.2.0.0/16"),)))
        assert "10.1.0.0/16" not in output("ip", "route")
        assert "10.2.0.0/16" in output("ip", "route")
        assert "100.96.0.3/32" in (shown := output("ip", "address"))
        assert "100.96.0.2" not in shown
        with pytest.raises(TunError, match="failed"):
            await settings.start(5)
        tun.close()
        assert "pycx" not in output("ip", "address")
        assert "10.2.0.0/16" not in output("ip", "route")

    run_in_own_network(scenario)


@in_namespaces
def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    program = (
        "import os, subprocess\n"
        "from pyconnector.agent.interface.device import Tun\n"
        "name = Tun('pycx%d').name\n"
        "subprocess.run(['ip', 'link', 'set', name, 'up'], check=True)\n"
        "subprocess.run(['ip', 'route', 'add', '10.3.0.0/16', 'dev', name], check=True)\n"
        "print(subprocess.check_output(['ip', 'route'], text=True), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    async def scenario() -> None:
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
        assert "10.3.0.0/16" in found.stdout
        assert "10.3.0.0/16" not in output("ip", "route")
        assert "pycx" not in output("ip", "address")

    run_in_own_network(scenario)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EPERM, "this needs root, or the capability CAP_NET_ADMIN"),
        (errno.ENOENT, "this system has no /dev/net/tun: its kernel lacks the tun module"),
    ],
)
def test_what_is_missing_is_one_sentence(number: int, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TunError) as caught:
        Tun("pyc%d")
    assert str(caught.value) == sentence


def test_names_and_systems_that_have_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TunError, match="is no name of an interface"):
        Tun("x" * 16)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(TunError, match="on Linux only"):
        Tun("pyc%d")


async def test_a_resolver_is_told_which_names_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "said"
    for name in ("ip", "resolvectl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {said}\n', encoding="ascii")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = InterfaceSettings("pyc0")
    assert await settings.answer_names(IPv4Address("100.96.0.1"), ["*.internal", "db.corp"]) == ""
    assert said.read_text(encoding="ascii") == "dns pyc0 100.96.0.1\ndomain pyc0 ~internal ~db.corp\n"
    (tmp_path / "resolvectl").write_text("#!/bin/sh\necho no bus >&2; exit 1\n", encoding="ascii")
    assert await settings.answer_names(IPv4Address("100.96.0.1"), ["db.corp"]) == (
        "`resolvectl dns pyc0 100.96.0.1` failed: no bus"
    )
    assert await settings.answer_names(IPv4Address("100.96.0.1"), []) == ""
