"""The schema for editors and the tables for the docs say what parsing does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyconnector.ingress import OriginSettings, config_schema, parse_ingress, settings_table
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.warp_routing import WARP_ROUTING

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "ingress.json").read_text())
SCHEMA = config_schema()
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
}


def problems(value: Any, schema: dict[str, Any], place: str = "") -> list[str]:
    """Check a value against the few words of JSON Schema that ours uses."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        choices = [problems(value, option, place) for option in schema["anyOf"]]
        if [] not in choices or "type" not in schema:
            return [] if [] in choices else choices[0]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{place}: not one of the words"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(
        isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names
    ):
        return [f"{place}: not {names}"]
    if isinstance(value, str):
        return [] if re.search(schema.get("pattern", ""), value) else [f"{place}: pattern"]
    if isinstance(value, int) and not isinstance(value, bool):
        return [] if schema.get("minimum", value) <= value <= schema.get("maximum", value) else [f"{place}: bounds"]
    if isinstance(value, list):
        found = [] if len(value) >= schema.get("minItems", 0) else [f"{place}: too few"]
        return found + [
            text
            for index, item in enumerate(value)
            for text in problems(item, schema.get("items", {}), f"{place}[{index}]")
        ]
    found = [f"{place}: lacks {name}" for name in schema.get("required", []) if name not in value]
    for name, item in value.items() if isinstance(value, dict) else ():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
        if inner is False:
            found.append(f"{place}.{name}: unknown")
        elif isinstance(inner, dict):
            found += problems(item, inner, f"{place}.{name}")
    return found


@pytest.mark.parametrize("case", [case for case in CASES if case["ok"] and "hostname: 5\n" not in case["yaml"]])
def test_every_accepted_config_fits_the_schema(case: dict[str, Any]) -> None:
    assert problems(yaml.safe_load(case["yaml"]), SCHEMA) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ingress: {}", ": not ['array']"),
        ("ingress: [{hostname: a}]", "[0]: lacks service"),
        ("ingress: [{servce: a, service: b}]", "[0].servce: unknown"),
        ("ingress: [{service: b, originRequest: {noTlsVerify: true}}]", ".noTlsVerify: unknown"),
        ("originRequest: {connectTimeout: 5}", "connectTimeout: not ['string']"),
        ("originRequest: {connectTimeout: 5 s}", "connectTimeout: pattern"),
        ("originRequest: {backends: [http://x]}", ".backends: unknown"),
        ("originRequest: {access: {teamName: x}}", "access: lacks required"),
        ("originRequest: {ipRules: []}", "ipRules: too few"),
        ("originRequest: {ipRules: [{prefix: '::/0', ports: [0]}]}", "ports[0]: bounds"),
        ("originRequest: {proxyProtocol: v3}", "proxyProtocol: not one of the words"),
        ("warp-routing: {maxFlows: 1}", ".maxFlows: unknown"),
    ],
)
def test_editors_see_the_same_problems(text: str, problem: str) -> None:
    (found,) = problems(yaml.safe_load(text), SCHEMA)
    assert problem in found


def test_opt_in_settings_fit_the_schema() -> None:
    text = """
    ingress:
      - service: http://localhost:1
        originRequest:
          stripPathPrefix: /a
          rewritePath: [{match: ^/a, replace: /b, redirect: 302}]
          requestHeaders: {set: {A: b, C: 1}, add: {D: [e, f]}, remove: [G]}
          backends: [http://localhost:2]
          balance: round-robin
          healthCheck: {path: /health, interval: 5s, unhealthyAfter: 2}
          retryFor: 10s
          errorPage: {status: 503, body: down}
    """
    config = yaml.safe_load(text)
    assert problems(config, SCHEMA) == []
    parse_ingress(config)


def test_the_schema_is_json_and_takes_the_keys_of_other_rooms() -> None:
    schema = config_schema({"tunnel": {"type": "string"}})
    assert json.loads(json.dumps(schema)) == schema
    assert list(schema["properties"]) == ["tunnel", "ingress", "originRequest", "warp-routing"]
    assert schema["additionalProperties"] is False
    assert SCHEMA["additionalProperties"] is True


def test_every_key_is_documented_once_with_its_default() -> None:
    table = settings_table()
    for keys in (RULE, ORIGIN_REQUEST, WARP_ROUTING):
        for key in keys.keys:
            assert f"| `{key.name}`" in table
            assert key.meaning in table
    assert "| `connectTimeout` | duration | `30s` |" in table
    assert "| `connectTimeout` | duration | `5s` |" in table
    assert "| `noTLSVerify` | true or false | `false` |" in table
    assert "| `proxyProtocol` ⁺ |" in table
    assert "### `access`\n" in table
    assert "### `ipRules` entries\n" in table


def test_every_setting_has_exactly_one_key() -> None:
    assert sorted(key.field for key in ORIGIN_REQUEST.keys) == sorted(OriginSettings.__dataclass_fields__)
