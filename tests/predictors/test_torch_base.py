"""The base of torch predictors, on a network of one layer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from headrace.errors import ConfigurationError, InvalidInputError
from headrace.models import tensors
from headrace.predictors.cpu import cpu_limit
from headrace.predictors.torch_base import TensorSpec, TorchPredictor

if TYPE_CHECKING:
    from pathlib import Path


class Sums(TorchPredictor):
    """Sums each row; in training mode it would drop some of it."""

    inputs = (TensorSpec("x", "FP32", (-1, 3)),)
    outputs = (TensorSpec("sum", "FP32", (-1, 1)),)

    def network(self) -> torch.nn.Module:
        """A dropout and a layer of ones."""
        layer = torch.nn.Linear(3, 1, bias=False)
        torch.nn.init.ones_(layer.weight)
        return torch.nn.Sequential(torch.nn.Dropout(0.9), layer)


@pytest.fixture
def model() -> Sums:
    """A loaded predictor."""
    made = Sums("m")
    assert made.load()
    made.warm_up()
    return made


def answered(model: Sums, payload: Any) -> Any:
    async def run() -> Any:
        return await model.postprocess(model.predict(await model.preprocess(payload)))

    return asyncio.run(run())


def test_v1_in_v1_out(model: Sums) -> None:
    """``instances`` become the first input, ``predictions`` are the rows of the output."""
    assert answered(model, {"instances": [[1, 2, 3], [4, 5, 6]]}) == {"predictions": [[6.0], [15.0]]}


def test_v2_in_v2_out(model: Sums) -> None:
    """A tensor is answered by a tensor, under the request's id; read-only input is no reason to warn."""
    headers, body = tensors.dump_request(tensors.new_request("m", {"x": np.ones((2, 3), np.float32)}, request_id="7"))
    request = tensors.load_request(body, "m", headers[tensors.HEADER_LENGTH])
    response = answered(model, request)
    assert (response.id, response.outputs[0].as_numpy().tolist()) == ("7", [[3.0], [3.0]])


def test_merged_requests_get_their_own_rows(model: Sums) -> None:
    """Collate, run, split: each answer has its request's id, rows and protocol."""

    async def prepared() -> list[Any]:
        v2 = tensors.new_request("m", {"x": np.full((2, 3), 2, np.float32)}, request_id="two")
        return [await model.preprocess(payload) for payload in (v2, {"instances": [[1, 1, 1]]})]

    requests = asyncio.run(prepared())
    assert model.batch_key(requests[0]) == model.batch_key(requests[1])
    assert [model.batch_rows(request) for request in requests] == [2, 1]
    answers = model.split(model.predict(model.collate(requests)), requests)
    assert [answer.outputs[0].as_numpy().tolist() for answer in answers] == [[[6.0], [6.0]], [[3.0]]]
    assert answers[0].id == "two"
    assert asyncio.run(model.postprocess(answers[1])) == {"predictions": [[3.0]]}


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"bytes", "reads tensors"),
        ({"instances": []}, "reads tensors"),
        ({"instances": [["a"]]}, "no FP32"),
        ({"instances": [[1, 2]]}, r"must be FP32 \[-1, 3\], got FP32 \[1, 2\]"),
        (tensors.new_request("m", {"y": np.zeros((1, 3), np.float32)}), "needs the input 'x'"),
        (tensors.new_request("m", {"x": np.zeros((1, 3), np.int64)}), "got INT64"),
    ],
)
def test_input_that_does_not_fit_is_named(model: Sums, payload: Any, told: str) -> None:
    """The refusal says what the model reads and what it got."""
    with pytest.raises(InvalidInputError, match=told):
        answered(model, payload)


def test_metadata(model: Sums) -> None:
    """v2 metadata are the specs."""
    assert model.get_input_types() == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert model.get_output_types() == [{"name": "sum", "datatype": "FP32", "shape": [-1, 1]}]


@pytest.mark.parametrize(
    ("stated", "quota", "wanted"),
    [
        ("1", "max 100000", 1),
        ("500m", None, 1),
        (None, "100000 100000", 1),
        ("64", "50000 100000", 1),
        ("0.2", None, 1),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, stated: str | None, quota: str | None, wanted: int) -> None:
    """The environment, the cgroup and the affinity each may be the smallest; at least one CPU is left."""
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cpu_limit({"HEADRACE_CPU_LIMIT": stated} if stated else {}, tmp_path) == wanted


def test_the_quota_of_cgroup_v1(tmp_path: Path) -> None:
    """The older two files are read where there is no ``cpu.max``; -1 is no limit."""
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit({}, tmp_path) == 1
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_limit({}, tmp_path) == cpu_limit({}, tmp_path / "none")


@pytest.mark.parametrize("text", ["many", "-1", "0", "nan", "m"])
def test_a_limit_that_is_none(tmp_path: Path, text: str) -> None:
    """The variable and its value are named."""
    with pytest.raises(ConfigurationError, match="HEADRACE_CPU_LIMIT"):
        cpu_limit({"HEADRACE_CPU_LIMIT": text}, tmp_path)
