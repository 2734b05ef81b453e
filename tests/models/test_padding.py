"""Rows of different lengths in one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.models import tensors
from headrace.models.batching import CountsTokens, PaddedBatching, tensor_bytes


class Texts(PaddedBatching):
    """Token numbers and their mask; one vector a text, and one number a token."""

    padded = {"ids": 1, "mask": 1}  # noqa: RUF012  # a class of constants
    pad_values = {"ids": 7}  # noqa: RUF012
    cut = {"tokens": 1}  # noqa: RUF012


class Bucketed(Texts):
    """The same, in buckets."""

    buckets = (4, 8)


def request(*lengths: int, rows: int = 1) -> Any:
    return tensors.new_request(
        "m",
        {"ids": np.full((rows, lengths[0]), lengths[0]), "mask": np.ones((rows, lengths[0]), np.int64)},
        request_id=f"r{lengths[0]}",
    )


def test_shorter_rows_are_filled_up() -> None:
    """To the longest of the batch, with the value of the input; 0 where none is named."""
    merged = Texts().collate([request(1), request(3, rows=2)])
    assert merged.inputs[0].as_numpy().tolist() == [[1, 7, 7], [3, 3, 3], [3, 3, 3]]
    assert merged.inputs[1].as_numpy().tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_a_bucket_is_filled_up_whole() -> None:
    """Every batch of a bucket has one length, so that a compiled network sees few shapes; one alone too."""
    assert Bucketed().collate([request(5), request(6)]).inputs[0].shape == [2, 8]
    assert Bucketed().collate([request(2)]).inputs[0].shape == [1, 4]


@pytest.mark.parametrize(("one", "other", "together"), [(1, 4, True), (4, 5, False), (5, 8, True), (8, 9, False)])
def test_only_those_of_a_bucket_go_together(one: int, other: int, together: bool) -> None:
    """A short text never pays for a long one."""
    hooks = Bucketed()
    first, second = hooks.batch_key(request(one)), hooks.batch_key(request(other))
    assert (first == second) is together


def test_longer_than_every_bucket_runs_alone() -> None:
    """It has no key; without buckets any lengths go together."""
    assert Bucketed().batch_key(request(9)) is None
    assert Texts().batch_key(request(9)) == Texts().batch_key(request(2))


def test_outputs_as_long_as_the_input_are_cut_back() -> None:
    """Each caller has as many values as it sent tokens; what has no such axis is as the model gave it."""
    requests = [request(1), request(3)]
    given = tensors.new_response("m", {"tokens": np.arange(6).reshape(2, 3), "vector": np.arange(8).reshape(2, 4)})
    answers = Texts().split(given, requests)
    assert [answer.outputs[0].as_numpy().tolist() for answer in answers] == [[[0]], [[3, 4, 5]]]
    assert [answer.outputs[1].shape for answer in answers] == [[1, 4], [1, 4]]
    assert [answer.id for answer in answers] == ["r1", "r3"]


def test_tokens_and_bytes_are_counted() -> None:
    """For the budgets of a batch: the length of the longest row, and the size of all tensors."""
    assert isinstance(Texts(), CountsTokens)
    assert Texts().batch_tokens(request(5)) == 5
    assert tensor_bytes(request(5)) == 2 * 5 * 8
