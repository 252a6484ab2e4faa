"""`service install` and `uninstall` on machines made up below a folder."""

from __future__ import annotations

import configparser
import plistlib
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli import main
from pyconnector.connector.cli.install import install as install_module
from pyconnector.connector.cli.install.install import Machine, install, uninstall
from pyconnector.connector.cli.install.units import Program, openrc_script, systemd_unit
from tests.connector.configs import token, write_config

KINDS = ("systemd", "openrc", "launchd")


class Commands:
    """What the service manager was told."""

    def __init__(self, failing: str = "") -> None:
        self.given: list[str] = []
        self.failing = failing

    def __call__(self, command: Sequence[str]) -> None:
        self.given.append(" ".join(command))
        if self.failing and self.failing in self.given[-1]:
            raise StartFailed(f"{self.given[-1]} failed: no")


def machine(root: Path, kind: str, commands: Commands) -> Machine:
    if kind == "systemd":
        (root / "run/systemd/system").mkdir(parents=True)
    if kind == "openrc":
        (root / "sbin").mkdir()
        (root / "sbin/openrc-run").touch()
    return Machine(
        root=root,
        platform="darwin" if kind == "launchd" else "linux",
        run=commands,
        program=("/opt/my tunnel/pyconnector",),
        home=root / "home",
    )


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - {"sbin/openrc-run"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_in_a_file_for_its_owner_alone_and_nowhere_else(tmp_path: Path, kind: str) -> None:
    commands = Commands()
    on = machine(tmp_path, kind, commands)
    assert install(token(), None, on) == 0
    held = on.folder / "token"
    assert held.read_text() == token() + "\n"
    assert stat.S_IMODE(held.stat().st_mode) == 0o600
    text = on.unit.read_text()
    assert token() not in text + "".join(commands.given)
    assert "--token-file" in text
    assert uninstall(on) == 0
    assert files(tmp_path) == set()


def test_systemd_is_never_waited_for(tmp_path: Path) -> None:
    commands = Commands()
    install(token(), None, machine(tmp_path, "systemd", commands))
    assert commands.given == [
        "systemctl daemon-reload", "systemctl enable pyconnector", "systemctl start --no-block pyconnector",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["start", "load", "add", "enable"])
def test_nothing_is_left_of_an_installation_that_failed(tmp_path: Path, kind: str, step: str) -> None:
    commands = Commands(failing=step)
    on = machine(tmp_path, kind, commands)
    try:
        install(token(), None, on)
    except StartFailed:
        assert files(tmp_path) == set()
    else:
        assert not any(step in command for command in commands.given)


def test_a_config_is_copied_and_stays(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    config = write_config(tmp_path / "own")
    root = tmp_path / "root"
    root.mkdir()
    on = machine(root, "systemd", Commands())
    assert install(None, str(config), on) == 0
    assert (root / "etc/pyconnector/config.yml").read_text() == config.read_text()
    assert "--config /etc/pyconnector/config.yml tunnel run" in on.unit.read_text()
    with pytest.raises(StartFailed, match=r"already installed at .*`service uninstall` removes it"):
        install(None, str(config), on)
    uninstall(on)
    assert files(root) == {"etc/pyconnector/config.yml"}
    config.write_text(config.read_text().replace("404", "418"))
    with pytest.raises(StartFailed, match="another config is there already"):
        install(None, str(config), on)


def test_what_cannot_start_is_not_installed(tmp_path: Path) -> None:
    on = machine(tmp_path, "systemd", Commands())
    with pytest.raises(ConfigError, match="token is not valid") as refused:
        install("c2VjcmV0LXRoaW5n", None, on)
    assert "c2VjcmV0" not in str(refused.value)
    broken = tmp_path / "broken.yml"
    broken.write_text("ingress: 5\n")
    with pytest.raises(ConfigError):
        install(None, str(broken), on)
    assert files(tmp_path) == {"broken.yml"}
    with pytest.raises(StartFailed, match="no service is installed"):
        uninstall(on)


@pytest.mark.parametrize(
    ("platform", "folder", "sentence"),
    [
        ("linux", "etc", "neither systemd nor OpenRC nor launchd"),
        ("linux", "etc/init.d", "SysV init is not supported"),
        ("win32", "Windows", "services of Windows are not supported"),
    ],
)
def test_a_machine_without_a_known_init_is_said(tmp_path: Path, platform: str, folder: str, sentence: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    on = replace(machine(tmp_path, "none", Commands()), platform=platform)
    with pytest.raises(StartFailed, match=sentence):
        install(token(), None, on)
    with pytest.raises(StartFailed, match=sentence):
        uninstall(on)
    assert not files(tmp_path)


# -- what is written -----------------------------------------------------------------------------------------------

ODD = Program(path="/opt/my tunnel/py$connector", arguments=["--tag", 'a="b" 100% $HOME', "it's"])


def test_words_of_a_unit_are_quoted() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(systemd_unit(ODD))
    line = unit["Service"]["ExecStart"]
    assert line == '"/opt/my tunnel/py$$connector" --tag "a=\\"b\\" 100%% $$HOME" "it\'s"'
    assert unit["Service"]["Type"] == "notify"


def test_an_openrc_script_is_a_script(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(openrc_script(ODD))
    shell = shutil.which("sh")
    assert shell is not None
    assert subprocess.run([shell, "-n", path], check=False).returncode == 0
    shown = subprocess.run(
        [shell, "-c", f'. {shlex.quote(str(path))}; eval "set -- $command_args"; printf "%s\\n" "$command" "$@"'],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.splitlines() == [ODD.path, *ODD.arguments]


def test_a_property_list_says_what_is_started(tmp_path: Path) -> None:
    on = machine(tmp_path, "launchd", Commands())
    install(token(), None, on)
    found = plistlib.loads(on.unit.read_bytes())
    assert found["ProgramArguments"] == [
        "/opt/my tunnel/pyconnector", "tunnel", "run", "--token-file", str(on.folder / "token"),
    ]  # fmt: skip
    assert found["KeepAlive"] == {"SuccessfulExit": False}


EXAMPLE = Path(__file__).parents[3] / "examples/systemd/pyconnector.service"


@pytest.mark.parametrize("which", ["installed", "example"])
def test_a_unit_is_one_to_systemd(tmp_path: Path, which: str) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / "pyconnector.service"
    if which == "installed":
        text = systemd_unit(Program(path="/bin/true", arguments=["tunnel", "run"]))
    else:
        text = re.sub(r"(?m)^(Exec\w+=)/\S+", r"\1/bin/true", EXAMPLE.read_text())
    path.write_text(text)
    done = subprocess.run([verify, "verify", path], capture_output=True, text=True, timeout=30, check=False)
    assert "pyconnector.service" not in done.stderr


def test_a_token_need_not_be_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def fake(token: str | None, config: str | None) -> int:
        asked.append(token)
        return 0

    monkeypatch.setattr(install_module, "install", fake)
    found = CliRunner().invoke(main, ["service", "install", "--token-file", "-"], input=f"{token()}\n")
    assert found.exit_code == 0, found.output
    found = CliRunner(env={"TUNNEL_TOKEN": "of the environment"}).invoke(main, ["service", "install"])
    assert asked == [token(), "of the environment"]
