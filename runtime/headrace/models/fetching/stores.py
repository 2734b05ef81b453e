"""Every other store, through KServe's storage package: the same fetcher that fills ``/mnt/models`` in a cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError
from headrace.models.fetching.https import DISK

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.models.model_uri import ModelUri

PACKAGE = "kserve_storage"
REMEDY = "python -m pip install 'headrace[storage]'"


def check_installed(uri: ModelUri) -> None:
    """Refuse a URI whose fetcher is not there.

    Raises:
        ModelLoadError: naming the package.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        told = f"Model {uri.shown!r}: {uri.scheme}:// needs KServe's storage package, which is not installed"
        raise ModelLoadError(told, hint=REMEDY)


def fetch(uri: ModelUri, folder: Path) -> None:
    """Put the files into ``folder``.

    Raises:
        ModelLoadError: what the store answered.
        OSError: the disk does not take them.
    """
    if uri.scheme != "modelscope":
        # A third of the import, for one store; the package does without.
        sys.modules["modelscope_hub"] = None  # type: ignore[assignment]  # None is how Python is told that there is none
    from kserve_storage import Storage  # noqa: PLC0415  # heavy, and an optional package

    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger(PACKAGE).setLevel(logging.CRITICAL)  # it logs whole URIs
    # An archive is compared with its checksum before it is unpacked, which is done by whoever asked for it.
    Storage._unpack_archive_file = staticmethod(_left_packed)  # noqa: SLF001  # a test holds kserve-storage to having it
    try:
        Storage.download(uri.place, str(folder))
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno in DISK:
            raise
        raise ModelLoadError(f"{_where(uri)}: {_said(fault)}") from fault
    shutil.rmtree(folder / ".cache" / "huggingface", ignore_errors=True)
    if (folder / ".cache").is_dir() and not any((folder / ".cache").iterdir()):
        (folder / ".cache").rmdir()


def _left_packed(path: str, _kind: str, folder: str | None = None) -> str:
    return folder or os.path.dirname(path)  # noqa: PTH120  # what it stands for gives text


def _where(uri: ModelUri) -> str:
    """Which store is asked, as the environment says."""
    endpoints = {"s3": "AWS_ENDPOINT_URL", "hf": "HF_ENDPOINT", "gs": "STORAGE_EMULATOR_HOST"}
    names = {"s3": "Amazon S3", "hf": "Hugging Face", "gs": "Google Cloud Storage"}
    endpoint = os.environ.get(endpoints.get(uri.scheme, ""), "")
    return f"{names.get(uri.scheme, uri.scheme)}{f' at {endpoint}' if endpoint else ''}"


def _said(fault: Exception) -> str:
    """What KServe makes of the store's answer, and the answer: KServe takes some for a missing login that are none."""
    told = " ".join(str(fault).split()) or type(fault).__name__
    cause = fault.__cause__
    if cause is None or str(cause) in told:
        return told
    first = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    return f"{told} ({type(cause).__name__}: {first})"
