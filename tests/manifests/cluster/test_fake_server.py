"""The fake API server is believed by a client that is none of ours: kubectl."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headrace.testing.cluster.server import ApiServer

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default, labels: {app: it}}\ndata: {k: one}\n"


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_kubectl_discovers_applies_reads_conflicts_and_deletes(server: ApiServer, tmp_path: Path) -> None:
    """Discovery, server-side apply with owners, lists by label, conflicts with their causes, deletion and its watch."""
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
    manifest = tmp_path / "config.yaml"

    def kubectl(*words: str, code: int = 0) -> str:
        assert KUBECTL is not None
        # A home of its own: kubectl caches what it discovered.
        command = [KUBECTL, "--kubeconfig", str(kubeconfig), "--cache-dir", str(tmp_path / "cache"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def apply(value: str, *flags: str, code: int = 0) -> str:
        manifest.write_text(CONFIG.replace("one", value))
        return kubectl("apply", "--server-side", "--validate=false", "-f", str(manifest), *flags, code=code)

    assert "inferenceservices" in kubectl("api-resources", "--api-group", "serving.kserve.io")
    assert "serverside-applied" in apply("one")
    found = json.loads(kubectl("get", "configmaps", "-l", "app=it", "-o", "json", "--show-managed-fields"))
    assert [owner["manager"] for owner in found["items"][0]["metadata"]["managedFields"]] == ["kubectl"]
    assert 'conflict with "kubectl"' in apply("two", "--field-manager", "other", code=1)
    assert "serverside-applied" in apply("two", "--field-manager", "other", "--force-conflicts")
    assert kubectl("get", "configmap", "a", "-o", "jsonpath={.data.k}") == "two"
    assert "deleted" in kubectl("delete", "configmap", "a", "--timeout=20s")
    assert "not found" in kubectl("get", "configmap", "a", code=1)
