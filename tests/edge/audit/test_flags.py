"""The flags of the audit log: checked before anything starts, and without a secret among the arguments."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pyconnector.connector.cli.audit.options import audit_flags, audit_options, refuse_secrets
from pyconnector.edge.audit.flags import AuditFlags, audit_settings
from pyconnector.edge.settings import SettingsError

SECRET = "https://logs.test/in?header_Authorization=Bearer%20hidden"


def test_defaults_refuse_what_cannot_be_recorded(tmp_path: Path) -> None:
    assert audit_settings(AuditFlags()) is None
    settings = audit_settings(AuditFlags(audit_dir=str(tmp_path), audit_to=(SECRET,), audit_spool="500MiB"))
    assert settings is not None
    assert (settings.refuse_when_full, settings.keep, settings.spool_limit) == (True, 0, 500 * 1024**2)
    assert settings.push == (SECRET,)
    assert "hidden" not in repr(settings)
    go_on = audit_settings(AuditFlags(audit_dir=str(tmp_path), audit_when_full="go-on"))
    assert go_on is not None
    assert not go_on.refuse_when_full


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"audit_to": ("https://x.test",)}, "--audit-dir"),
        ({"audit_dir": "x", "audit_to": ("ftp://x.test",)}, "--audit-to: ftp:// is no known destination"),
        ({"audit_dir": "x", "audit_to": ("https://x.test",) * 9}, "at most 8"),
        ({"audit_dir": "x", "audit_spool": "lots"}, "no size"),
        ({"audit_dir": "x", "audit_spool": "0GiB"}, "no size"),
    ],
)
def test_a_flag_that_cannot_be_used_is_told(flags: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        audit_settings(AuditFlags(**flags))  # type: ignore[arg-type]


def test_secrets_come_from_the_environment_alone() -> None:
    @click.command()
    @audit_options
    @click.pass_context
    def command(context: click.Context, /, **given: object) -> None:
        refuse_secrets(context)
        click.echo(len(audit_flags(given).audit_to))

    refused = CliRunner().invoke(command, ["--audit-to", SECRET])
    assert refused.exit_code == 2
    assert "PYCONNECTOR_AUDIT_TO" in refused.output
    assert "hidden" not in refused.output
    plain = CliRunner().invoke(command, ["--audit-to", "s3://bucket/x?region=r", "--audit-to", "https://x.test/"])
    assert plain.output == "2\n"
    given = CliRunner().invoke(command, env={"PYCONNECTOR_AUDIT_TO": f"{SECRET} s3://bucket/x?region=r"})
    assert given.output == "2\n"
