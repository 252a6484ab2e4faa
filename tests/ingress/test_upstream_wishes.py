"""What users of the reference asked for upstream, each with the example of the issue, written with our keys."""

from typing import Any

import yaml

from pyconnector.ingress import OriginSettings, parse_ingress
from pyconnector.ingress.config.services import HttpService, parse_service
from pyconnector.ingress.rules.failover import HealthCheck
from pyconnector.ingress.rules.header_rules import HeaderRules
from pyconnector.ingress.rules.rewrite import Redirect, TargetRewriter


def settings_of(text: str, index: int = 0) -> OriginSettings:
    return parse_ingress(yaml.safe_load(text)).rules[index].settings


def rewriter(settings: OriginSettings) -> TargetRewriter:
    return TargetRewriter.of(settings)


def test_563_a_service_under_a_path() -> None:
    settings = settings_of("""
    ingress:
      - service: http://192.168.178.1
        originRequest:
          addPathPrefix: /nas
    """)
    assert rewriter(settings).rewrite("/films?page=2") == "/nas/films?page=2"


def test_563_subdirectories_of_one_hostname_to_services_of_their_own() -> None:
    config = yaml.safe_load("""
    ingress:
      - hostname: subdomain.domain.com
        path: ^/subdir1/
        service: https://localhost:3001
        originRequest: {stripPathPrefix: /subdir1}
      - hostname: subdomain.domain.com
        path: ^/subdir2/(.*)$
        service: https://localhost:3002
        originRequest:
          rewritePath: [{match: ^/subdir2/(.*)$, replace: /$1}]
      - service: http_status:404
    """)
    ingress = parse_ingress(config)
    for number in (1, 2):
        match = ingress.match("subdomain.domain.com", f"/subdir{number}/a/b")
        assert str(match.rule.service) == f"https://localhost:300{number}"
        assert rewriter(match.rule.settings).rewrite(f"/subdir{number}/a/b?c") == "/a/b?c"


def test_408_rewrites_like_those_of_nginx() -> None:
    settings = settings_of(r"""
    ingress:
      - service: http://localhost:8080
        originRequest:
          rewritePath:
            - {match: '^/\.well-known/host-meta$', replace: "/public.php?service=host-meta"}
            - {match: '^/\.well-known/host-meta\.json$', replace: "/public.php?service=host-meta-json"}
            - {match: '^/\.well-known/webfinger$', replace: "/public.php?service=webfinger"}
            - {match: '^/\.well-known/carddav$', replace: /remote.php/dav/, redirect: 301}
            - {match: '^/\.well-known/caldav$', replace: /remote.php/dav/, redirect: 301}
    """)
    rewrite = rewriter(settings).rewrite
    assert rewrite("/.well-known/host-meta") == "/public.php?service=host-meta"
    assert rewrite("/.well-known/host-meta.json") == "/public.php?service=host-meta-json"
    assert rewrite("/.well-known/webfinger?resource=acct:a@b") == "/public.php?service=webfinger&resource=acct:a@b"
    assert rewrite("/.well-known/caldav") == Redirect(301, "/remote.php/dav/")
    assert rewrite("/index.php") == "/index.php"


def test_795_a_bearer_token_for_the_service() -> None:
    settings = settings_of("""
    ingress:
      - service: http://localhost:8080
        originRequest:
          requestHeaders:
            set:
              Authorization: Bearer ABCDS
    """)
    assert settings.request_headers is not None
    assert settings.request_headers.apply([(b"Authorization", b"Basic visitor"), (b"Accept", b"*/*")]) == [
        (b"Authorization", b"Bearer ABCDS"),
        (b"Accept", b"*/*"),
    ]
    assert "ABCDS" not in repr(settings)


def test_1499_headers_added_overwritten_and_removed() -> None:
    settings = settings_of("""
    ingress:
      - hostname: "*.example.com"
        service: http://localhost:8000
        originRequest:
          requestHeaders:
            set: {X-API-Key: your-api-key, X-Service-Name: my-service}
            remove: [User-Agent, Cf-Connecting-Ip]
          responseHeaders:
            add: {Link: [a, b]}
            remove: [Server]
      - service: http_status:404
    """)
    assert settings.request_headers == HeaderRules(
        set=((b"X-API-Key", b"your-api-key"), (b"X-Service-Name", b"my-service")),
        remove=(b"user-agent", b"cf-connecting-ip"),
    )
    assert settings.response_headers == HeaderRules(add=((b"Link", b"a"), (b"Link", b"b")), remove=(b"server",))


def test_434_three_backends_for_one_hostname() -> None:
    settings = settings_of("""
    ingress:
      - hostname: service.domain.com
        service: http://backend-01.lan
        originRequest:
          backends:
            - http://backend-02.lan
            - http://backend-03.lan
          balance: round-robin
      - service: http_status:404
    """)
    assert settings.backends == (parse_service("http://backend-02.lan"), parse_service("http://backend-03.lan"))
    assert settings.balance == "round-robin"


def test_725_replicas_with_configurable_health_checks() -> None:
    settings = settings_of("""
    originRequest:
      healthCheck: {path: /health, interval: 5s, timeout: 1s, unhealthyAfter: 2, healthyAfter: 3}
    ingress:
      - hostname: foo.example.org
        service: http://vm01:8000
        originRequest:
          backends: [http://vm02:8000]
      - service: http_status:404
    """)
    assert settings.health_check == HealthCheck(
        path="/health", interval=5.0, timeout=1.0, unhealthy_after=2, healthy_after=3
    )
    assert [service.host for service in settings.backends if isinstance(service, HttpService)] == ["vm02"]


def test_451_a_service_that_restarts_is_waited_for() -> None:
    assert (
        settings_of("{ingress: [{service: http://localhost:8080, originRequest: {retryFor: 10s}}]}").retry_for == 10.0
    )


def test_369_the_client_address_for_sshd() -> None:
    assert (
        settings_of("{ingress: [{service: ssh://localhost:22, originRequest: {proxyProtocol: v2}}]}").proxy_protocol
        == "v2"
    )


def test_own_error_page() -> None:
    settings = settings_of("""
    originRequest:
      errorPage: {status: 503, body: "<h1>Back at nine</h1>"}
    ingress:
      - hostname: app.example.com
        service: http://localhost:8080
      - service: tcp://localhost:22
    """)
    assert settings.error_page is not None
    assert settings.error_page.response()[::2] == (503, b"<h1>Back at nine</h1>")


def test_what_people_try_first_is_answered_with_the_key() -> None:
    tried: dict[str, Any] = {
        "headers": "requestHeaders",
        "rewrite": "rewritePath",
        "failover": "backends",
        "services": "backends",
        "loadBalancing": "balance",
        "host": "httpHostHeader",
        "proxy_protocol": "proxyProtocol",
        "healthcheck": "healthCheck",
        "retries": "retryFor",
        "stripPrefix": "stripPathPrefix",
        "insecureSkipVerify": "noTLSVerify",
    }
    config = {"ingress": [{"service": "http://x", "originRequest": dict.fromkeys(tried, 1)}]}
    ingress = parse_ingress(config, allow_unknown_keys=True)
    assert {problem.path[-1]: problem.suggestion for problem in ingress.warnings} == tried


def test_a_config_without_these_keys_has_none_of_them_on() -> None:
    settings = OriginSettings()
    assert not rewriter(settings)
    assert (settings.request_headers, settings.response_headers, settings.error_page, settings.health_check) == (
        None,
    ) * 4
    assert (settings.backends, settings.retry_for, settings.proxy_protocol) == ((), 0.0, "")
