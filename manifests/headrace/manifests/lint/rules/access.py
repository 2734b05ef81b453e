"""Rules of who may reach and do what: networks, Istio, roles, secrets."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from headrace.manifests.lint.finding import Hit, Joint, Rule
from headrace.manifests.lint.manifest import Manifest, items, mapping, sequence, text, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.document import Path

_SECURITY = "security.istio.io"
_ALL = 100


def _policy_types(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("networking.k8s.io", "NetworkPolicy"):
        return
    types = sequence(manifest.spec.get("policyTypes"))
    for key, name in (("ingress", "Ingress"), ("egress", "Egress")):
        if types and key in manifest.spec and name not in types:
            yield Hit(("spec", key), f"policyTypes does not have {name}: these rules have no effect", f"add {name}")
        if key == "egress" and not types and key not in manifest.spec:
            continue
    for index, each in enumerate(types):
        if each not in ("Ingress", "Egress"):
            yield Hit(("spec", "policyTypes", index), f"{each!r} is neither Ingress nor Egress", "write one of them")


def _weights(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("networking.istio.io", "VirtualService"):
        return
    for protocol in ("http", "tcp", "tls"):
        for path, route in items(manifest.spec, (protocol,)):
            weights = [whole(each.get("weight")) for _, each in items(route, ("route",))]
            total = sum(weight for weight in weights if weight is not None)
            if any(weight is not None for weight in weights) and total != _ALL:
                yield Hit(("spec", *path, "route"), f"the weights add up to {total}", "make them add up to 100")


def _mutual_tls(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a(_SECURITY, "PeerAuthentication"):
        mode = mapping(manifest.spec.get("mtls")).get("mode")
        if mode in ("DISABLE", "PERMISSIVE"):
            yield Hit(("spec", "mtls", "mode"), f"{mode} lets plain text in")


def _everybody(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a(_SECURITY, "AuthorizationPolicy") or manifest.spec.get("action", "ALLOW") != "ALLOW":
        return
    for index, rule in enumerate(sequence(manifest.spec.get("rules"))):
        if rule in ({}, None):
            yield Hit(("spec", "rules", index), "an empty rule lets everybody in", "say from whom")


def _tokens(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    guarded = {each.namespace for each in manifests if each.is_a(_SECURITY, "AuthorizationPolicy")}
    for each in manifests:
        if each.is_a(_SECURITY, "RequestAuthentication") and each.namespace not in guarded:
            why = "it refuses bad tokens and lets requests without one through: no AuthorizationPolicy is beside it"
            yield each, Hit(("spec",), why)


def _wildcards(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a("rbac.authorization.k8s.io", "Role", "ClusterRole"):
        for path, rule in items(manifest.body, ("rules",)):
            for key in ("apiGroups", "resources", "verbs"):
                if "*" in sequence(rule.get(key)):
                    yield Hit((*path, key), "* grants what will exist tomorrow as well")


def _role_reference(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a("rbac.authorization.k8s.io", "RoleBinding", "ClusterRoleBinding"):
        for path, subject in items(manifest.body, ("subjects",)):
            if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
                yield Hit(path, "a ServiceAccount is named with its namespace", "write namespace")
        kind = mapping(manifest.body.get("roleRef")).get("kind")
        if manifest.kind == "ClusterRoleBinding" and kind == "Role":
            yield Hit(("roleRef", "kind"), "a ClusterRoleBinding binds a ClusterRole", "write ClusterRole")


def _secret(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("", "Secret"):
        return
    for key, value in mapping(manifest.body.get("data")).items():
        try:
            base64.b64decode("".join(text(value).split()), validate=True)
        except ValueError:  # binascii.Error is one; so is what is not ASCII
            yield Hit(("data", key), "is not base64", "encode it, or write it under stringData")


def _secret_values(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a("", "Secret") and manifest.body.get("type") != "kubernetes.io/service-account-token":
        for part in ("data", "stringData"):
            if mapping(manifest.body.get(part)):
                path: Path = (part,)
                yield Hit(path, "the secret's values stand in the manifest")


RULES = (
    Rule(
        "network/policy-types",
        "error",
        "A NetworkPolicy lists the directions that it has rules for: rules of another have no effect.",
        "Add the direction to policyTypes.",
        _policy_types,
    ),
    Rule(
        "mesh/weights",
        "error",
        "Weights of a route add up to 100.",
        "Make them add up to 100.",
        _weights,
    ),
    Rule(
        "mesh/plain-text",
        "warning",
        "Mutual TLS is strict: permissive lets plain text in.",
        "Write STRICT.",
        _mutual_tls,
    ),
    Rule(
        "mesh/everybody",
        "warning",
        "An AuthorizationPolicy says whom it lets in: an empty rule lets everybody in.",
        "Say from whom.",
        _everybody,
    ),
    Joint(
        "mesh/tokens",
        "warning",
        "Beside a RequestAuthentication an AuthorizationPolicy asks for a token: alone it refuses only bad ones.",
        "Add an AuthorizationPolicy with requestPrincipals.",
        _tokens,
    ),
    Rule(
        "access/wildcard",
        "warning",
        "A role names what it grants.",
        "Name the groups, resources and verbs.",
        _wildcards,
    ),
    Rule(
        "access/binding",
        "error",
        "A binding names an account with its namespace, and a role of its own scope.",
        "Correct it.",
        _role_reference,
    ),
    Rule(
        "secret/base64",
        "error",
        "A Secret's data is base64.",
        "Encode it, or use stringData.",
        _secret,
    ),
    Rule(
        "secret/in-manifest",
        "warning",
        "A Secret's values do not stand in manifests, which are read by many and stay in their history.",
        "Use external-secrets, or make it with kubectl create secret.",
        _secret_values,
    ),
)
