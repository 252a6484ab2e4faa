"""What is in a directory, as a page for people or as JSON for programs. Pure."""

from __future__ import annotations

import datetime
import html
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from pyconnector.origins.files.opening import Entry, Listing
    from pyconnector.origins.files.paths import FilePath

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:16px/1.6 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}
td{{padding-right:2rem}}td+td{{text-align:right;font-variant-numeric:tabular-nums}}</style>
<h1>{title}</h1><table>{rows}</table>{note}</html>
"""


def as_json(listing: Listing, path: FilePath) -> bytes:
    """Return a listing as JSON: `path`, `whole`, and `entries` with `name`, `type`, `size`, `modified` and `url`."""
    entries = [
        {
            "name": _text(entry), "type": "directory" if entry.is_directory else "file", "size": entry.size,
            "modified": _moment(entry), "url": path.url + _link(entry),
        }
        for entry in listing.entries
    ]  # fmt: skip
    return json.dumps({"path": path.url, "whole": listing.whole, "entries": entries}).encode("ascii")


def as_page(listing: Listing, path: FilePath) -> bytes:
    """Return a listing as a page without anything active in it."""
    rows = ['<tr><td><a href="../">../</a></td><td></td><td></td></tr>'] if path.names else []
    for entry in listing.entries:
        name = html.escape(_text(entry) + ("/" if entry.is_directory else ""))
        size = "" if entry.is_directory else f"{entry.size:,}"
        link = f'<a href="./{html.escape(_link(entry))}">{name}</a>'
        rows.append(f"<tr><td>{link}</td><td>{size}</td><td>{_moment(entry)}</td></tr>")
    note = "" if listing.whole else "<p>There are more files than are shown here.</p>"
    title = html.escape("/" + "/".join(name.decode("utf-8", "replace") for name in path.names))
    return _PAGE.format(title=title, rows="".join(rows), note=note).encode("utf-8", "replace")


def _text(entry: Entry) -> str:
    return entry.name.decode("utf-8", "replace")


def _link(entry: Entry) -> str:
    return quote(entry.name) + ("/" if entry.is_directory else "")


def _moment(entry: Entry) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(entry.modified, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
