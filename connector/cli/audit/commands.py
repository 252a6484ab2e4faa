"""The commands and their arguments. What they do is in `reading`."""

from __future__ import annotations

import click

from pyconnector.connector.cli.exits import exit_with

_WHERE = click.argument("places", nargs=-1, required=True, type=click.Path(), metavar="DIRECTORY|FILES...")
_WHEN = click.option("-w", "--where", "conditions", multiple=True, metavar="CONDITION",
                     help="As in ServiceTokenName=agent-*, HTTPStatusCode>=400, Role!=reader. Repeatable.")  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print whole records, one line each.")


@click.group("audit")
def audit_group() -> None:
    """Check the audit log of an edge, and look into it."""


@audit_group.command("verify")
@_WHERE
@click.option(
    "--last", default="", metavar="DIGEST", help="A digest that was printed before: its line has to be there still."
)
def verify_command(places: tuple[str, ...], last: str) -> None:
    """Check that no line was changed, added or taken out.

    Prints the number of records and the last digest.
    """
    from pyconnector.connector.cli.audit.reading import verify

    exit_with(lambda: verify(places, last))


@audit_group.command("tail")
@_WHERE
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0), help="Records to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on as records come, until a signal.")
@_WHEN
@_JSON
def tail_command(places: tuple[str, ...], lines: int, follow: bool, conditions: tuple[str, ...], as_json: bool) -> None:
    """Show the last records, or the last that fit all conditions."""
    from pyconnector.connector.cli.audit.reading import tail

    exit_with(lambda: tail(places, lines, follow=follow, as_json=as_json, conditions=conditions))


@audit_group.command("search")
@_WHERE
@_WHEN
@click.option("--since", default="", metavar="MOMENT", help="2027-01-15T08:00Z, a date, or 15m, 2h, 7d ago.")
@click.option("--until", default="", metavar="MOMENT", help="The same.")
@_JSON
def search_command(places: tuple[str, ...], conditions: tuple[str, ...], since: str, until: str, as_json: bool) -> None:
    """Show the records that fit all conditions."""
    from pyconnector.connector.cli.audit.reading import search

    exit_with(lambda: search(places, conditions, as_json=as_json, since=since, until=until))
