"""Durations and quantities."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.manifests.quantity import (
    format_bytes,
    format_cpu,
    format_duration,
    parse_bytes,
    parse_cpu,
    parse_duration,
)

durations = st.integers(0, 365 * 24 * 3600 * 10**6).map(lambda us: timedelta(microseconds=us))


@given(durations)
def test_a_duration_survives_its_text(value: timedelta) -> None:
    """Every duration is written so that it reads as the same value."""
    assert parse_duration(format_duration(value)) == value


@given(st.integers(1, 1_000_000))
def test_cores_survive_their_text(thousandths: int) -> None:
    """Every number of thousandths of a core reads back as itself, from text and from a number."""
    cores = thousandths / 1000
    assert parse_cpu(format_cpu(cores)) == cores
    assert parse_cpu(cores) == cores


@given(st.integers(1, (1 << 63) - 1))
def test_bytes_survive_their_text(size: int) -> None:
    """Every number of bytes reads back as itself."""
    assert parse_bytes(format_bytes(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("5s", 5), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("1.5s", 1.5), ("0", 0), ("7us", 7e-6)],
)
def test_durations_are_written_as_go_writes_them(text: str, seconds: float) -> None:
    """Units are us, ms, s, m and h, and may follow one another."""
    assert parse_duration(text).total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", 5, True, None, "5 s", "-5s", "1d", "s", "1.5us", "9000000h", "٣s", "5s\n"])
def test_anything_else_is_no_duration(text: object) -> None:
    """No unit, an unknown unit, a sign, a fraction of a microsecond or more than a year are refused."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4Gi", 4 << 30), ("512M", 512_000_000), (1024, 1024), ("1.5Ki", 1536), ("1k", 1000), ("2Ti", 2 << 40)],
)
def test_bytes_have_kubernetes_suffixes(text: object, size: int) -> None:
    """Binary and decimal suffixes and plain numbers are read."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "4GB", "-1", 0, "0", True, None, "0.1", "1e3", "4 Gi", "9999999Pi", [], "4gi"])
def test_anything_else_is_no_size(text: object) -> None:
    """Unknown suffixes, signs, nothing, parts of a byte and sizes beyond 64 bits are refused."""
    with pytest.raises(ValueError, match="bytes"):
        parse_bytes(text)


def test_a_size_in_thousandths_of_a_byte_is_the_mistake_it_looks_like() -> None:
    """``500m`` of memory is legal for Kubernetes and half a byte: the remedy is named."""
    with pytest.raises(ValueError, match="write 500Mi"):
        parse_bytes("500m")


@pytest.mark.parametrize("text", ["", "0", 0, "0.0001", "1.5m", "-1", True, None, "two", "2000", "1e2"])
def test_anything_else_is_no_number_of_cores(text: object) -> None:
    """Cores are positive, in thousandths, a thousand at most."""
    with pytest.raises(ValueError, match="cores"):
        parse_cpu(text)


def test_the_largest_unit_that_divides_is_written() -> None:
    """Text is short and has one form a value."""
    assert [format_duration(timedelta(seconds=s)) for s in (0, 90, 120, 3600, 0.2)] == [
        "0s",
        "90s",
        "2m",
        "1h",
        "200ms",
    ]
    assert [format_bytes(size) for size in (1 << 30, 500_000_000, 1234)] == ["1Gi", "500M", "1234"]
    assert [format_cpu(cores) for cores in (2.0, 0.5, 0.001)] == ["2", "500m", "1m"]
