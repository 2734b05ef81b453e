"""Whether the cluster's own version is one that the manifests are made for."""

from __future__ import annotations

from headrace.manifests.cluster.doctor.finding import Finding

OLDEST, NEWEST = (1, 32), (1, 36)
"""Kubernetes versions that the manifests are tested with."""


def versions(version: str) -> list[Finding]:
    """Older is an error, newer a warning."""
    major, _, minor = version.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        return [Finding("warning", "kubernetes", f"its version {version!r} is not understood")]
    found = (int(major), int(minor))
    tested = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    if found < OLDEST:
        fix = f"use a cluster of Kubernetes {tested}"
        return [
            Finding("error", "kubernetes", f"version {version} is older than KServe 0.21 and Knative 1.23 need", fix)
        ]
    if found > NEWEST:
        return [Finding("warning", "kubernetes", f"version {version} is newer than {tested}, which are tested")]
    return [Finding("ok", "kubernetes", f"version {version}")]
