"""What ``headrace lint`` reads: files, folders, standard input, Lists, kustomizations; and what it says of the rest."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.cli.main import main
from headrace.errors import ConfigurationError
from headrace.manifests.lint.engine import lint

GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"
BAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}\n"
WARNED = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: b}\n"


def written(path: Path, text: str) -> str:
    """The name of a file with the text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def code_of(*arguments: str) -> int:
    """The exit code of ``headrace lint`` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main(["lint", *arguments])
    return int(ended.value.code or 0)


def test_the_exit_code_says_whether_something_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts stop at 1 for a mistake, at 2 for a wrong path; a warning stops nobody."""
    assert code_of(written(tmp_path / "good.yaml", GOOD)) == 0
    assert code_of(written(tmp_path / "warned.yaml", WARNED)) == 0
    assert code_of(written(tmp_path / "bad.yaml", BAD)) == 1
    assert code_of(str(tmp_path / "absent.yaml")) == 2
    assert "absent.yaml does not exist" in capsys.readouterr().err


def test_a_finding_names_file_line_path_value_reason_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads it can open the file at the line and correct it."""
    file = written(tmp_path / "bad.yaml", BAD)
    assert code_of(file) == 1
    told = capsys.readouterr().out
    assert f"{file}:4: error: ConfigMap a data.a = 1: must be text, and is a whole number" in told
    assert 'put it in quotes: "1"  [schema/type]' in told


def test_json_has_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the same facts."""
    file = written(tmp_path / "bad.yaml", BAD)
    assert code_of(file, "--output", "json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["resources"]) == (1, 1)
    (only,) = told["findings"]
    assert only | {"why": "", "remedy": ""} == {
        "file": file,
        "line": 4,
        "document": 1,
        "resource": "ConfigMap a",
        "path": "data.a",
        "value": "1",
        "rule": "schema/type",
        "severity": "error",
        "why": "",
        "remedy": "",
    }


def test_folders_are_read_at_any_depth(tmp_path: Path) -> None:
    """Every .yaml, .yml and .json counts; other files are none of a linter's business."""
    for name in ("a.yaml", "deep/er/b.yml", "c.json"):
        written(tmp_path / name, BAD if not name.endswith("json") else json.dumps({"apiVersion": "v1", "kind": "Nope"}))
    written(tmp_path / "README.md", "no manifest")
    report = lint([str(tmp_path)])
    assert report.files == 3
    assert {Path(each.file).name for each in report.findings} == {"a.yaml", "b.yml", "c.json"}


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubectl kustomize DIR | headrace lint -` checks what will be applied."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(BAD.encode())))
    (only,) = lint(["-"]).findings
    assert (only.file, only.line) == ("<stdin>", 4)


def test_of_a_kustomization_only_its_resources_are_manifests(tmp_path: Path) -> None:
    """Patches hold parts of resources, and would fail every rule."""
    written(tmp_path / "kustomization.yaml", "kind: Kustomization\nresources: [a.yaml]\npatches: [{path: p.yaml}]\n")
    written(tmp_path / "a.yaml", GOOD)
    written(tmp_path / "p.yaml", "- {op: remove, path: /data}\n")
    assert not [each for each in lint([str(tmp_path)]).findings if each.file.endswith("p.yaml")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "no manifest in"),
        (b"# nothing\n---\n", "no manifest in"),
    ],
)
def test_what_is_no_manifest_is_wrong_usage(tmp_path: Path, content: bytes, said: str) -> None:
    """A linter that reads nothing must not say that all is well."""
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        lint([str(file)])


def test_an_empty_folder_is_wrong_usage(tmp_path: Path) -> None:
    """The same for a folder."""
    with pytest.raises(ConfigurationError, match="has no manifests"):
        lint([str(tmp_path)])


def test_the_bare_equals_sign_of_prometheus_is_text(tmp_path: Path) -> None:
    """PyYAML's own loader fails at it."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: =\n"
    assert not lint([written(tmp_path / "a.yaml", text)]).findings


def test_an_app_is_checked_as_render_checks_it(tmp_path: Path) -> None:
    """One command for all files of a project; the line is the mistake's."""
    app = "apiVersion: headrace.dev/v1alpha1\nkind: InferenceApp\nmetadata: {name: a}\nspec:\n"
    app += "  predictor: {clas: a:B}\n  trigger: {topic: t}\n"
    found = lint([written(tmp_path / "headrace.yaml", app)]).findings
    assert {(each.rule, each.line) for each in found} == {("app/invalid", 5), ("app/invalid", 5)}
    assert any("clas" in each.why for each in found)


def test_kinds_without_a_schema_are_named(tmp_path: Path) -> None:
    """Nobody shall think that a kind was checked which is not known here."""
    text = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {anything: goes}\n"
    assert lint([written(tmp_path / "a.yaml", text)]).unchecked == {"cert-manager.io/v1 Certificate": 1}


def test_a_bomb_of_aliases_ends(tmp_path: Path) -> None:
    """A few lines that unfold to millions are refused, not unfolded."""
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        text += f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n"
    (only,) = lint([written(tmp_path / "a.yaml", text)]).findings
    assert only.rule == "yaml/syntax"
