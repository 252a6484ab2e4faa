"""The page of `hello_world`: proof that a request arrived, and what exactly arrived."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.origins.base import OriginRequest

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>It works: {host}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1b1f24; --soft: #5c6672; --paper: #fbfaf8; --card: #fff; --line: #e4e0da;
  --mark: #0b7a5b; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8e6e3; --soft: #9aa3ad; --paper: #14171a; --card: #1b1f23;
  --line: #2c3238; --mark: #4cc9a0; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }}
main {{ max-width: 56rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 1.25rem 0 .5rem; }}
p {{ margin: 0 0 1rem; color: var(--soft); max-width: 42rem; }}
svg {{ width: 100%; max-width: 30rem; height: auto; color: var(--mark); }}
svg text {{ font: 12px system-ui, sans-serif; fill: var(--soft); }}
section {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin-top: 1.5rem;
  padding: 1.1rem 1.25rem; overflow-x: auto; }}
h2 {{ font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 0 0 .75rem; }}
table {{ border-collapse: collapse; width: 100%; font: 13.5px/1.5 ui-monospace, monospace; }}
th, td {{ text-align: left; vertical-align: top; padding: .28rem .75rem .28rem 0; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }}
tr:first-child > * {{ border-top: 0; }}
th {{ width: 15rem; font-weight: 600; }}
pre {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13.5px/1.5 ui-monospace, monospace; }}
a {{ color: var(--mark); }}
</style>
</head>
<body><main>
<svg viewBox="0 0 480 70" role="img" aria-label="Your request went from the edge through the tunnel to this service">
<g fill="none" stroke="currentColor" stroke-width="2">
<rect x="2" y="12" width="96" height="32" rx="7"/><rect x="382" y="12" width="96" height="32" rx="7"/>
<path d="M98 28 H382" stroke-dasharray="5 5"/><rect x="192" y="12" width="96" height="32" rx="7" fill="var(--paper)"/>
</g>
<text x="50" y="32" text-anchor="middle">you</text><text x="240" y="32" text-anchor="middle">edge</text>
<text x="430" y="32" text-anchor="middle">this service</text>
<text x="335" y="62" text-anchor="middle">tunnel</text>
</svg>
<h1>It works. Your request came through the tunnel.</h1>
<p>This page is the built-in test service, <code>hello_world</code>. It shows the request exactly as it arrived here.
Point a rule at a service of your own when you are ready.</p>
<section><h2>Request</h2><table>{request}</table></section>
<section><h2>Headers</h2><table>{headers}</table></section>
{body}
<section><h2>More to try</h2><table>
<tr><th><a href="/uptime">/uptime</a></th><td>since when this service runs, as JSON</td></tr>
<tr><th><a href="/sse?freq=1s">/sse?freq=1s</a></th><td>an event stream that ticks</td></tr>
<tr><th>/ws</th><td>a WebSocket that echoes</td></tr>
<tr><th><a href="/_health">/_health</a></th><td>ok</td></tr>
</table></section>
</main></body></html>
"""


def render(request: OriginRequest, host: str, body: bytes, *, cut: bool) -> bytes:
    """The page for `request`, whose body began with `body`; `cut` where there was more of it."""
    length = "chunked" if request.body_length is None else f"{request.body_length} bytes"
    facts = [("Method", request.method), ("Path and query", request.target), ("Host", host), ("Body", length)]
    headers = [(_text(name), _text(value)) for name, value in request.headers]
    shown = ""
    if body:
        more = "\n… (the rest is not shown)" if cut else ""
        shown = f"<section><h2>Body</h2><pre>{escape(_text(body))}{more}</pre></section>"
    page = _PAGE.format(host=_shown(host), request=_rows(facts), headers=_rows(headers), body=shown)
    return page.encode("utf-8", "replace")


def _rows(fields: list[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{_shown(name)}</th><td>{_shown(value)}</td></tr>" for name, value in fields)


def _shown(text: str) -> str:
    """Bytes that are no UTF-8 came as lone surrogates; show them as what they are."""
    return escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
