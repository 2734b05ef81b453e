"""A model URI taken apart."""

from __future__ import annotations

import pytest

from headrace.errors import ModelLoadError
from headrace.models.model_uri import ModelUri, hidden, parse_model_uri, store_place

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("s3://b/m", ModelUri("s3://b/m")),
        (f"s3://b/m?sha256={DIGEST.upper()}", ModelUri("s3://b/m", DIGEST)),
        (f"s3://b/m?manifest=SHA256SUMS&sha256={DIGEST}", ModelUri("s3://b/m", DIGEST, "SHA256SUMS")),
        ("https://h/m.bin?b=%2F&a=1", ModelUri("https://h/m.bin?b=%2F&a=1")),
        (f"https://h/m.bin?b=%2F&sha256={DIGEST}&a=1", ModelUri("https://h/m.bin?b=%2F&a=1", DIGEST)),
        ("what?.bin", ModelUri("what?.bin")),
        (f"what?.bin?sha256={DIGEST}", ModelUri("what?.bin", DIGEST)),
    ],
)
def test_the_stores_part_stays_as_it_is_written(text: str, uri: ModelUri) -> None:
    """Headrace's own parameters are taken out; a signature over the others still holds."""
    assert parse_model_uri(text) == uri
    assert store_place(text) == uri.place


@pytest.mark.parametrize(
    ("text", "told"),
    [("s3://b/m?sha256=abc", "64 hexadecimal"), ("s3://b/m?manifest=../x", "within the model's folder")],
)
def test_what_is_no_checksum_is_refused(text: str, told: str) -> None:
    """At once, and not after the download."""
    with pytest.raises(ModelLoadError, match=told):
        parse_model_uri(text)


def test_nothing_secret_is_shown() -> None:
    """Neither a login nor a signature nor a variable that holds a secret."""
    uri = parse_model_uri("https://me:pw-1234@h/m.bin?X-Amz-Signature=5ecret")
    assert uri.shown == "https://h/m.bin?***"
    told = hidden(f"GET {uri.place} as /m.bin?X-Amz-Signature=5ecret with token-5678 failed", uri, ("token-5678",))
    assert told == "GET https://h/m.bin?*** as /m.bin?*** with *** failed"
    assert "pw-1234" not in uri.key


def test_the_key_is_that_of_the_files() -> None:
    """A new login or, under a checksum, a new signature is the same model; another place or checksum is another."""
    keys = [
        parse_model_uri(text).key
        for text in (
            f"https://h/m.bin?signature=1&sha256={DIGEST}",
            f"https://me:pw@h/m.bin?signature=2&sha256={DIGEST}",
            f"https://h/m.bin?signature=2&sha256={'b' * 64}",
            "https://h/m.bin?signature=2",
            "https://h/n.bin?signature=2",
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert keys[0].startswith("m.bin-")
