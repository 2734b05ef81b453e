"""Archives: what is read, and what never leaves them."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.predictors.torchserve.archives import mar

from headrace.errors import ModelLoadError
from headrace.predictors.torchserve.archive import read_config, read_manifest, unpack

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"modelName": "m", "modelVersion": "1.0", "handler": "h.py", "configFile": "c.yaml"}


def unpacked(tmp_path: Path, model: dict[str, str], files: dict[str, str]) -> Path:
    """The folder of an archive like this."""
    archive = mar(tmp_path / "m.mar", model, dict(files))
    unpack(archive, tmp_path / "out")
    return tmp_path / "out"


def test_a_manifest_and_its_configuration(tmp_path: Path) -> None:
    """Names, files and settings are the archive's."""
    folder = unpacked(tmp_path, GOOD, {"h.py": "", "c.yaml": "batchSize: 8\n", "extra/a.txt": "a"})
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version, manifest.handler_module) == ("m", "1.0", "h")
    assert read_config(folder, manifest) == {"batchSize": 8}
    assert (folder / "extra/a.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "..\\evil.py", "C:\\evil.py"])
def test_no_entry_leads_out(name: str, tmp_path: Path) -> None:
    """It is named, and nothing at all is written."""
    archive = mar(tmp_path / "m.mar", GOOD, {"h.py": "", name: "boom"})
    with pytest.raises(ModelLoadError, match="leads out of the archive"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["m.mar"]


def test_no_entry_is_a_link(tmp_path: Path) -> None:
    """A link could make the next entry land anywhere."""
    archive = mar(tmp_path / "m.mar", GOOD, {"h.py": ""})
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc")
    with pytest.raises(ModelLoadError, match="'link' leads out"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ("text_classifier", "handler 'text_classifier' is not supported, only base_handler, image_classifier are"),
        ("gone.py", "the handler's file gone.py is not in the archive"),
        ("", "names no handler"),
    ],
)
def test_a_handler_that_is_not_here(handler: str, told: str, tmp_path: Path) -> None:
    """Told with what is, before anything is loaded."""
    with pytest.raises(ModelLoadError, match=told):
        read_manifest(unpacked(tmp_path, {**GOOD, "handler": handler}, {"h.py": ""}))


def test_what_is_no_archive_of_a_model(tmp_path: Path) -> None:
    """No zip file, no manifest, a workflow: each is told."""
    (tmp_path / "m.mar").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match=r"m\.mar is no TorchServe archive"):
        unpack(tmp_path / "m.mar", tmp_path / "out")
    with pytest.raises(ModelLoadError, match=r"it has no MAR-INF/MANIFEST\.json"):
        read_manifest(tmp_path)
    (tmp_path / "MAR-INF").mkdir()
    manifest = tmp_path / "MAR-INF/MANIFEST.json"
    manifest.write_text(json.dumps({"workflow": {"workflowName": "w"}}))
    with pytest.raises(ModelLoadError, match="a workflow, which is not supported"):
        read_manifest(tmp_path)
    manifest.write_text("[]")
    with pytest.raises(ModelLoadError, match="describes no model"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["- a\n", "a: [\n"])
def test_a_configuration_that_is_none(text: str, tmp_path: Path) -> None:
    """Its file is named."""
    folder = unpacked(tmp_path, GOOD, {"h.py": "", "c.yaml": text})
    with pytest.raises(ModelLoadError, match=r"c\.yaml"):
        read_config(folder, read_manifest(folder))
