"""What of a record a job pushes, and in which form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyconnector.logpush.datasets import DATASETS
from pyconnector.logpush.filters import FilterError, parse_filter
from pyconnector.logpush.jobs import JobError, parse_job
from pyconnector.logpush.output import Output, OutputError, parse_output

RECORD: dict[str, Any] = {
    "Datetime": "2027-01-15T08:00:00.250Z", "RayID": "r1", "Protocol": "HTTP", "HTTPHost": "a.test", "URL": "/x",
    "HTTPStatusCode": 403, "Action": "block", "Allowed": False, "SourceIP": "192.0.2.1", "Labels": ["team=data"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"key": "Action", "operator": "eq", "value": "block"}, True),
        ({"key": "Action", "operator": "!eq", "value": "block"}, False),
        ({"key": "HTTPStatusCode", "operator": "geq", "value": 400}, True),
        ({"key": "HTTPStatusCode", "operator": "lt", "value": 400}, False),
        ({"key": "HTTPHost", "operator": "startsWith", "value": "a."}, True),
        ({"key": "HTTPHost", "operator": "!contains", "value": "test"}, False),
        ({"key": "Labels", "operator": "endsWith", "value": "data"}, True),
        ({"key": "Allowed", "operator": "eq", "value": "false"}, True),
        ({"key": "HTTPStatusCode", "operator": "in", "value": [401, 403]}, True),
        ({"key": "Role", "operator": "contains", "value": "x"}, False),
        ({"and": [{"key": "Action", "operator": "eq", "value": "block"},
                  {"or": [{"key": "URL", "operator": "eq", "value": "/y"},
                          {"key": "URL", "operator": "eq", "value": "/x"}]}]}, True),
    ],
)  # fmt: skip
def test_a_filter_selects_records(where: dict[str, Any], wanted: bool) -> None:
    predicate = parse_filter(json.dumps({"where": where}), DATASETS["audit_records"].fields)
    assert predicate(RECORD) is wanted


@pytest.mark.parametrize(
    "text",
    [
        "x", "[]", '{"where": {}}', '{"where": {"key": "Secret", "operator": "eq", "value": 1}}',
        '{"where": {"key": "URL", "operator": "like", "value": ""}}', '{"where": {"and": []}}',
        '{"where": {"key": "URL", "operator": "lt", "value": "a"}}',
        '{"where": {"key": "URL", "operator": "!lt", "value": 1}}',
        '{"where": {"key": "URL", "operator": "in", "value": "a"}}', '{"where":' * 20 + "1" + "}" * 20,
        json.dumps({"where": {"or": [{"key": "URL", "operator": "eq", "value": "a"}] * 101}}),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_told(text: str) -> None:
    with pytest.raises(FilterError):
        parse_filter(text, DATASETS["audit_records"].fields)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("unixnano", 1_800_000_000_250_000_000), ("unix", 1_800_000_000), ("rfc3339", "2027-01-15T08:00:00Z"),
        ("rfc3339ms", "2027-01-15T08:00:00.250Z"), ("rfc3339ns", "2027-01-15T08:00:00.250000000Z"),
    ],
)  # fmt: skip
def test_moments_have_the_form_that_is_asked_for(form: str, told: object) -> None:
    output = parse_output({"field_names": ["Datetime"], "timestamp_format": form}, ["Datetime"])
    assert json.loads(output.render([RECORD])) == {"Datetime": told}


def test_records_are_lines_of_json_or_csv() -> None:
    fields = ["SourceIP", "Labels", "UserAgent"]
    names = {"field_names": fields}
    assert parse_output(names, fields).render([RECORD, RECORD]).count(b"\n") == 2
    csv = parse_output(names | {"output_type": "csv", "batch_prefix": "ip,labels,agent\n"}, fields)
    assert csv.render([RECORD]) == b'ip,labels,agent\n192.0.2.1,"[""team=data""]",\n'
    marked = {**RECORD, "UserAgent": "${jndi:x}"}
    hidden = parse_output(names | {"CVE-2021-44228": True}, fields).render([marked])
    assert b"${" not in hidden
    assert b"x{jndi" in hidden
    template = {"record_template": "<{{.UserAgent}}>", "CVE-2021-44228": True}
    assert parse_output(names | template, fields).render([marked]) == b'{<"x{jndi:x}">}\n'


def test_a_sample_is_the_same_however_often_it_is_taken() -> None:
    output = parse_output({"field_names": ["RayID"], "sample_rate": 0.1}, ["RayID"])
    rows = [{**RECORD, "RayID": f"ray-{number}"} for number in range(2000)]
    once = output.render(rows)
    assert once == output.render(rows)
    assert 100 < once.count(b"\n") < 300


@pytest.mark.parametrize(
    "options",
    [
        {"field_names": ["Nope"]}, {"output_type": "xml"}, {"timestamp_format": "x"}, {"sample_rate": 2},
        {"colour": "red"}, {"record_prefix": "x" * 5000}, {"output_type": "csv"}, {"record_template": "{{.URL"},
        {"hide_log4j": True},
    ],
)  # fmt: skip
def test_what_is_no_output_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(OutputError):
        parse_output(options, ["URL"])


def test_a_data_set_has_its_own_names() -> None:
    login = DATASETS["access_requests"].view({**RECORD, "AppUUID": "a", "ActorType": "service_token"})
    assert login is not None
    assert (login["CreatedAt"], login["IPAddress"], login["Connection"]) == (
        RECORD["Datetime"], "192.0.2.1", "service_token",
    )  # fmt: skip
    assert DATASETS["access_requests"].view(RECORD) is None
    assert DATASETS["zero_trust_network_sessions"].view(RECORD) is None
    http = DATASETS["gateway_http"].view(RECORD)
    assert http is not None
    assert http["RequestID"] == "r1"


def test_a_job_without_field_names_has_those_of_its_data_set() -> None:
    value: dict[str, Any] = {"dataset": "gateway_http", "destination_conf": "https://logs.test/in"}
    output = parse_job("1", value).output
    assert set(output.field_names) == set(DATASETS["gateway_http"].fields)
    with pytest.raises(JobError, match="no data set"):
        parse_job("1", value | {"dataset": "http_requests"})
    with pytest.raises(JobError, match=r"PostgreSQL takes"):
        parse_job("1", value | {"destination_conf": "postgresql://h/d"})
    assert isinstance(output, Output)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ('"ip":{{.SourceIP}},"labels":{{ .Labels }}', '{"ip":"192.0.2.1","labels":["team=data"]}\n'),
        ('{{/* }} a comment */}}x={{ "{{" }}{{`"`}}{{.URL}}', '{x={{"null}\n'),  # a field that is not asked for
        ('a {{- .SourceIP -}} b', '{a"192.0.2.1"b}\n'),
        ("", '{"SourceIP":"192.0.2.1","Labels":["team=data"]}\n'),
    ],
)  # fmt: skip
def test_a_template_takes_the_place_of_the_fields(template: str, written: str) -> None:
    options = {"field_names": ["SourceIP", "Labels"], "record_template": template}
    assert parse_output(options, ["SourceIP", "Labels", "URL"]).render([RECORD]).decode() == written


def test_a_template_quotes_as_its_type_of_output_does() -> None:
    options = {
        "field_names": ["SourceIP", "Labels"],
        "output_type": "csv",
        "record_template": "<{{.Labels}}>;{{.SourceIP}}",
    }
    written = parse_output(options, ["SourceIP", "Labels"]).render([RECORD, RECORD])
    assert written == b'<"[""team=data""]">;192.0.2.1\n' * 2
    bare = {"field_names": ["SourceIP"], "record_template": "{{.SourceIP}}", "record_prefix": "", "record_suffix": ";"}
    assert parse_output(bare, ["SourceIP"]).render([RECORD, RECORD]) == b'"192.0.2.1";"192.0.2.1";'


@pytest.mark.parametrize(
    "template", ["{{.URL", "{{if .URL}}x{{end}}", "{{ .A | print }}", '{{ "x }}', "{{}}", "{{/* x }}", "{{.}}"]
)
def test_what_no_template_may_hold_is_told(template: str) -> None:
    with pytest.raises(OutputError, match="record_template"):
        parse_output({"record_template": template}, ["URL"])
