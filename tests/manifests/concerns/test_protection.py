"""What stands in front of the domain: size, rate and rules, for the domain's host alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.concerns.protection import protection
from headrace.manifests.options import RenderOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]

HOST = "pictures.example.com"
OPTIONS = RenderOptions()
PLUGIN = "oci://registry.example.com/coraza-proxy-wasm:0.6.0"


def found(app: InferenceApp) -> dict[str, Resource]:
    """The concern's resources by kind."""
    return {each["kind"]: each for each in protection(app, OPTIONS)}


def patches(app: InferenceApp) -> list[dict[str, Any]]:
    """The EnvoyFilter's patches."""
    spec: dict[str, Any] = found(app)["EnvoyFilter"]["spec"]
    assert spec["workloadSelector"] == {"labels": {"istio": "ingressgateway"}}
    return list(spec["configPatches"])


def test_without_a_domain_there_is_nothing_to_protect(prod: MakeApp) -> None:
    """The profile turns protection on for all apps; those without a public address render none of it."""
    app = prod()
    assert app.spec.protection is not None
    assert protection(app, OPTIONS) == []


def test_size_and_rate_are_bounded_for_the_host(plain: MakeApp) -> None:
    """Both listeners' virtual hosts of the domain, with the app's figures."""
    app = plain(domain={"host": HOST}, protection={"maxRequest": "1Mi", "rate": 7, "burst": 9})
    hosts = [each for each in patches(app) if each["applyTo"] == "VIRTUAL_HOST"]
    names = {each["match"]["routeConfiguration"]["vhost"]["name"] for each in hosts}
    assert names == {f"{HOST}:80", f"{HOST}:443"}
    for each in hosts:
        rate, size = each["patch"]["value"]["typed_per_filter_config"].values()
        assert rate["token_bucket"] == {"max_tokens": 9, "tokens_per_fill": 7, "fill_interval": "1s"}
        assert rate["filter_enforced"]["default_value"] == {"numerator": 100, "denominator": "HUNDRED"}
        assert size["buffer"] == {"max_request_bytes": 1 << 20}


def test_other_hosts_of_the_gateway_are_left_alone(plain: MakeApp) -> None:
    """The filters are in the chain of all hosts, so they are off until a host's own settings name them."""
    app = plain(domain={"host": HOST}, protection={})
    filters = [each["patch"]["value"] for each in patches(app) if each["applyTo"] == "HTTP_FILTER"]
    settings = [each["patch"]["value"] for each in patches(app) if each["applyTo"] == "VIRTUAL_HOST"]
    assert [each["disabled"] for each in filters] == [True, True]
    for each in settings:
        assert set(each["typed_per_filter_config"]) == {one["name"] for one in filters}


def test_two_apps_do_not_share_a_filter(app_of: MakeApp) -> None:
    """Else one's figures would be the other's: Envoy finds settings by the filter's name."""
    names = [
        {each["patch"]["value"]["name"] for each in patches(app) if each["applyTo"] == "HTTP_FILTER"}
        for app in (
            app_of(metadata={"name": name}, spec={"domain": {"host": f"{name}.example.com"}, "protection": {}})
            for name in ("one", "two")
        )
    ]
    assert names[0].isdisjoint(names[1])


def test_the_rate_is_checked_first(plain: MakeApp) -> None:
    """A flood costs least where nothing else looks at it."""
    rate, size, *_ = patches(plain(domain={"host": HOST}, protection={}))
    assert rate["patch"]["operation"] == "INSERT_FIRST"
    assert size["match"]["listener"]["filterChain"]["filter"]["subFilter"] == {"name": "envoy.filters.http.router"}


def test_a_burst_holds_a_second(plain: MakeApp) -> None:
    """A bucket smaller than what is poured in a second would never let the rate through."""
    with pytest.raises(ValidationError, match="burst is below rate"):
        plain(protection={"rate": 500, "burst": 100})


def waf(plain: MakeApp, **more: object) -> dict[str, Any]:
    """The firewall's spec."""
    app = plain(domain={"host": HOST}, protection={"waf": {"plugin": PLUGIN, **more}, "maxRequest": "2Mi"})
    spec: dict[str, Any] = found(app)["WasmPlugin"]["spec"]
    return spec


def test_the_core_rules_guard_the_host_and_no_other(plain: MakeApp) -> None:
    """Coraza compares the whole Host header, so the host stands with and without its ports."""
    spec = waf(plain)
    config = spec["pluginConfig"]
    assert (spec["url"], spec["selector"]) == (PLUGIN, {"matchLabels": {"istio": "ingressgateway"}})
    assert config["directives_map"][config["default_directives"]] == ["SecRuleEngine Off"]
    assert set(config["per_authority_directives"]) == {HOST, f"{HOST}:80", f"{HOST}:443"}
    (name,) = set(config["per_authority_directives"].values())
    directives = config["directives_map"][name]
    assert "SecRuleEngine On" in directives
    assert f"SecRequestBodyLimit {2 << 20}" in directives
    assert directives.index("Include @crs-setup-conf") < directives.index("Include @owasp_crs/*.conf")


def test_the_rules_know_events_and_tensors(plain: MakeApp) -> None:
    """The core rules refuse content types that they do not know, and find attacks in pixels."""
    (text,) = [each for each in directives(waf(plain)) if "900220" in each]
    for content in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"):
        assert f"|{content}|" in text
    assert any("requestBodyAccess=Off" in each and "image" in each for each in directives(waf(plain)))


def test_the_firewall_is_as_strict_as_asked(plain: MakeApp) -> None:
    """It can watch first, be stricter, take rules of the user's, and shut the gateway when it fails."""
    strict = waf(plain, mode="detect", paranoia=3, rules=["SecRuleRemoveById 942100"], whenItFails="closed")
    assert "SecRuleEngine DetectionOnly" in directives(strict)
    assert any("blocking_paranoia_level=3" in each for each in directives(strict))
    assert directives(strict)[-1] == "SecRuleRemoveById 942100"
    assert (waf(plain)["failStrategy"], strict["failStrategy"]) == ("FAIL_OPEN", "FAIL_CLOSE")


def directives(spec: dict[str, Any]) -> list[str]:
    """The app's own directives."""
    return list(spec["pluginConfig"]["directives_map"]["picture-labels"])


@pytest.mark.parametrize("plugin", ["coraza:1", "ftp://x/y", "oci://", "http://x/y.wasm"])
def test_a_plugin_has_a_place_that_istio_can_fetch(plain: MakeApp, plugin: str) -> None:
    """Nothing but what Istio fetches, and nothing in the clear."""
    with pytest.raises(ValidationError, match="oci://"):
        plain(protection={"waf": {"plugin": plugin}})
