"""Who is asked and with which credentials: kubeconfigs, and everything that can be wrong with one."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from headrace.errors import ConfigurationError
from headrace.manifests.cluster.connection import connect

if TYPE_CHECKING:
    from pathlib import Path


def kubeconfig(path: Path, user: dict[str, Any], name: str = "lab") -> str:
    """A file with one context."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"http://{name}.example.com:6443/"}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


def login_program(path: Path, code: str) -> dict[str, Any]:
    """A user whose credentials a program gives."""
    path.write_text(code)
    program = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(path)]}
    return {"exec": {**program, "interactiveMode": "Never"}}


def test_the_current_context_or_the_one_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBECONFIG may name several files; the token is in no text that the connection makes of itself."""
    files = [
        kubeconfig(tmp_path / "a", {"token": "top-secret"}, "one"),
        kubeconfig(tmp_path / "b", {"token": "other"}, "two"),
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
    chosen = connect("one")
    assert (chosen.server, chosen.name) == ("http://one.example.com:6443", "one")
    assert chosen.authorization() == "Bearer top-secret"
    assert "top-secret" not in repr(chosen)
    assert connect("two").authorization() == "Bearer other"


def test_an_unknown_context_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    """The mistake is mostly one of spelling."""
    path = kubeconfig(tmp_path / "config", {})
    with pytest.raises(ConfigurationError, match=r"no context 'labb'.*it has lab"):
        connect("labb", path)


def test_no_kubeconfig_is_told_with_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new machine, and where KUBECONFIG is misspelt."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=rf"No kubeconfig at {tmp_path}/\.kube/config"):
        connect()


def test_a_pod_without_a_token_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a pod the ServiceAccount's token is taken; this machine has none."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigurationError, match="This pod has no credentials"):
        connect()


@pytest.mark.parametrize(
    "text", ["", "{", "a: [1", "[]", "7", "apiVersion: v1\nkind: Config\n", "token: top-secret\n\tx: 1\n", "\x00"]
)
def test_a_file_that_is_no_kubeconfig_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    """Whatever it holds, and without showing that: it may be a secret."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="cannot be used") as fault:
        connect(kubeconfig=str(path))
    assert "\n" not in str(fault.value)
    assert "top-secret" not in str(fault.value)


@pytest.mark.parametrize(
    "user",
    [
        {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="},
        {"client-certificate": "/nowhere.pem", "client-key": "/nowhere.key"},
        {"client-certificate-data": "***", "client-key-data": "***"},
    ],
    ids=["no certificate", "no file", "no base64"],
)
def test_certificates_that_cannot_be_read_are_told_in_one_line(user: dict[str, Any], tmp_path: Path) -> None:
    """They expire, move, and are cut off by copying."""
    path = tmp_path / "config"
    kubeconfig(path, user)
    path.write_text(path.read_text().replace("http:", "https:"))
    with pytest.raises(ConfigurationError, match="kubeconfig") as fault:
        connect(kubeconfig=str(path))
    assert "\n" not in str(fault.value)


def test_a_login_program_gives_the_token(tmp_path: Path) -> None:
    """As the clouds' kubeconfigs have it."""
    code = """
print('{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}')
"""
    path = kubeconfig(tmp_path / "config", login_program(tmp_path / "login.py", code))
    assert connect(kubeconfig=path).authorization() == "Bearer fresh"


@pytest.mark.parametrize(
    ("code", "told"),
    [("import sys\nsys.exit('you are logged out')", "you are logged out"), ("print('{}')", "missing key")],
    ids=["fails", "says nothing"],
)
def test_a_login_program_that_fails_ends_the_command(
    code: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one would go on as nobody, and be told of forbidden things instead of the login."""
    path = kubeconfig(tmp_path / "config", login_program(tmp_path / "login.py", code))
    with pytest.raises(ConfigurationError, match=f"its login program failed: .*{told}") as fault:
        connect(kubeconfig=path)
    assert "\n" not in str(fault.value)
    assert not caplog.records
    assert logging.getLogger().handlers
