"""The Grafana dashboard works on what a connector really serves: names, labels, and one value at least."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

from pyconnector.connector.observe.metrics import exposition
from pyconnector.connector.observe.rule_metrics import RuleMetrics
from tests.support.houses.house import open_house

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "examples/grafana/pyconnector.json").read_text())
#: Labels that the scraper adds, and the buckets of histograms.
OF_THE_SCRAPER = {"job", "instance"}
METRIC = re.compile(r"\b([a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
BY = re.compile(r"\bby \(([^)]*)\)")
LEGEND = re.compile(r"\{\{(\w+)\}\}")


def targets() -> list[tuple[str, dict[str, str]]]:
    return [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


async def scrape() -> dict[str, set[str]]:
    """What is served after requests of every kind: labels by name of the sample."""
    rules = [
        {"hostname": "a.test", "path": "/x", "service": "http_status:500"},
        {"hostname": "down.test", "service": "http://127.0.0.1:1"},
        {"service": "hello_world"},
    ]
    # Rules are counted apart where there is a page that shows it, or somebody who asks.
    async with open_house(rules, connector_options={"observers": [RuleMetrics()]}) as house:
        async with httpx.AsyncClient(base_url=house.url, trust_env=False) as client:
            for host, path in (("a.test", "/x"), ("down.test", "/"), ("b.test", "/")):
                await client.get(path, headers={"Host": host})
        house.connector.counters.registrations_failed["server_error"] += 1
        text = exposition(house.connector.registry.collect()).decode()
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, rest = line.partition("{")
            labels = set(re.findall(r'(\w+)="', rest)) if rest else set()
            found.setdefault(name.split(" ")[0], set()).update(labels)
    return found


async def test_every_query_asks_for_metrics_and_labels_that_are_served() -> None:
    served = await scrape()
    queries = targets()
    assert len(queries) > 20
    for title, target in queries:
        expression = target["expr"]
        asked = METRIC.findall(expression)
        assert asked, f"{title}: {expression}"
        for name, matchers in asked:
            assert name in served, f"{title}: no {name}"
            known = served[name] | OF_THE_SCRAPER
            wanted = set(MATCHER.findall(matchers))
            groups = {label.strip() for group in BY.findall(expression) for label in group.split(",")}
            assert wanted | groups <= known, f"{title}: {name} has no {(wanted | groups) - known}"
            assert OF_THE_SCRAPER <= wanted, f"{title}: {name} does not mind the chosen connectors"
            left = groups if groups else known
            legend = set(LEGEND.findall(target["legendFormat"]))
            assert legend <= left, f"{title}: the legend names {legend - left}, which the query does not keep"


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_variable_of_a_query_is_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used <= defined | {"__rate_interval"}
