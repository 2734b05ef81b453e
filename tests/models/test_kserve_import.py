"""kserve without its weight, and whole for whoever asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a program prints that begins with the import of Headrace's part of kserve."""
    program = f"import sys, headrace.models.kserve_api as api\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_no_server_needs_is_not_imported() -> None:
    """Neither pandas nor FastAPI, httpx's command line or Kubernetes: that was two thirds of the CPU of an import."""
    heavy = "pandas", "fastapi", "kubernetes", "kserve.models", "rich", "click"
    assert run(f"print([name for name in {heavy} if name in sys.modules])") == "[]"


def test_users_import_from_the_package_as_ever() -> None:
    """The names of a model class are there, and are the same objects; still nothing heavy is imported."""
    code = """
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
import kserve
assert kserve.Model is Model is api.Model
assert (InferRequest, InferResponse) == (api.InferRequest, api.InferResponse)
print("pandas" in sys.modules)
"""
    assert run(code) == "False"


@pytest.mark.parametrize("name", ["ModelServer", "KServeClient", "V1beta1InferenceService", "ModelRepository"])
def test_any_other_name_brings_the_whole_package(name: str) -> None:
    """It is imported then, sees no flags of the program, and the classes of before stay the same."""
    code = f"from kserve import Model, {name}\nimport kserve\nassert kserve.Model is Model is api.Model\nprint({name})"
    assert name in run(code, "--workers", "many")


def test_a_name_that_there_is_not_is_missed() -> None:
    """As from any package, before and after the whole of it is there."""
    code = """
import kserve
for _ in range(2):
    try:
        kserve.NoSuchThing
    except AttributeError as fault:
        print(fault)
"""
    assert run(code).splitlines() == ["module 'kserve' has no attribute 'NoSuchThing'"] * 2


def test_what_was_left_out_is_there_when_it_is_used() -> None:
    """A frame of pandas from a request, and kserve's own httpx client to a predictor."""
    code = """
import asyncio, numpy, pandas
request = api.InferRequest("m", [api.InferInput("x", [2], "INT64", [1, 2])])
frame = request.as_dataframe()
assert isinstance(frame, pandas.DataFrame)
from kserve import InferenceRESTClient, RESTConfig
import httpx
async def ask():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        await client.infer("http://127.0.0.1:9", request, model_name="m")
    except httpx.ConnectError:
        print("refused")
asyncio.run(ask())
"""
    assert run(code) == "refused"


def test_the_plain_way_is_one_variable_away() -> None:
    """With ``HEADRACE_WHOLE_KSERVE`` set, kserve's ``__init__`` runs first."""
    assert run("print('kserve.models' in sys.modules)", HEADRACE_WHOLE_KSERVE="1") == "True"
