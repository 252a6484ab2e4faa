"""The files that make each kind of init start a connector, as text. Pure: nothing is written here.

Secrets are in files of their own, readable by root alone; no unit and no command line holds one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

NAME = "pyconnector"
LABEL = "org.pyconnector.pyconnector"
DESCRIPTION = "pyconnector tunnel connector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started: the absolute path of the program, and its arguments."""

    path: str
    arguments: Sequence[str]

    @property
    def line(self) -> Sequence[str]:
        """Program and arguments."""
        return [self.path, *self.arguments]


def systemd_unit(program: Program) -> str:
    """The unit: ready with the first registered connection, reloaded by SIGHUP, watched."""
    return f"""\
[Unit]
Description={DESCRIPTION}
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
# Without a network at boot it is waited for, however long it takes.
TimeoutStartSec=infinity
WatchdogSec=60
ExecStart={" ".join(_systemd_word(word) for word in program.line)}
ExecReload=/bin/kill -HUP $MAINPID
TimeoutStopSec=200
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


def _systemd_word(word: str) -> str:
    """Quote one word of ExecStart (systemd.service(5), "Command lines")."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{word}"' if not word or any(character in word for character in " \t'\";") else word


def openrc_script(program: Program) -> str:
    """The service script; supervise-daemon starts it again where it ends."""
    arguments = shlex.join(program.arguments)
    return f"""\
#!/sbin/openrc-run
description="{DESCRIPTION}"
supervisor=supervise-daemon
command={shlex.quote(program.path)}
command_args={shlex.quote(arguments)}
pidfile="/run/${{RC_SVCNAME}}.pid"
output_log="/var/log/{NAME}.log"
error_log="/var/log/{NAME}.err"
respawn_delay=5
respawn_max=0
retry="TERM/200/KILL/5"
extra_started_commands="reload"

depend() {{
    need net
    use dns
}}

reload() {{
    ebegin "Reloading {NAME}"
    supervise-daemon "${{RC_SVCNAME}}" --signal HUP
    eend $?
}}
"""


def launchd_plist(program: Program, logs: str) -> str:
    """The property list; launchd starts it again where it fails."""
    arguments = "".join(f"        <string>{escape(word)}</string>\n" for word in program.line)
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>{LABEL}</string>
    <key>ProgramArguments</key>
    <array>
{arguments}    </array>
    <key>RunAtLoad</key>
    <true/>
    <key>KeepAlive</key>
    <dict>
        <key>SuccessfulExit</key>
        <false/>
    </dict>
    <key>ThrottleInterval</key>
    <integer>5</integer>
    <key>ExitTimeOut</key>
    <integer>200</integer>
    <key>StandardOutPath</key>
    <string>{escape(logs)}/{LABEL}.out.log</string>
    <key>StandardErrorPath</key>
    <string>{escape(logs)}/{LABEL}.err.log</string>
</dict>
</plist>
"""
