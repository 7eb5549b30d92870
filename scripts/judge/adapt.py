"""The judge's second lesson: what talks are like, and kinds of conduct, from our own *fit* cases; and the third.

    python -m scripts.judge.adapt UPSTREAM DATA CHECKPOINT OUT [--half 1 | --half 2 | --all] [--talks] [--bf16]

The second lesson is of half of the sections: what its judge says is weighed on the other half. Where each half has its turn,
every section takes part in the weighing. The third (`--all`) goes on from the first half's judge with the other half's
sections, for the judge that is shipped. `--talks` adds the invented talks of `scripts.talks` to the second lesson.
CHECKPOINT is judge.safetensors of the lesson before (`scripts.judge.train` has the first); OUT gets another. The persona's
index is used (FIRESIDE_DATA_DIR), and the earlier lessons are rehearsed. Needs the `training` extra.
"""

# torch is no dependency of the project: only this folder needs it.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody knows it by
from safetensors.torch import load_file, save_file
from torch import nn

from evals.cases import load_cases
from evals.fit import taught
from persona.card import load_card
from persona.conduct import CLASSES
from persona.llama import LlamaEmbedder
from persona.opening import open_index
from persona.pipeline import Fireside
from persona.settings import load_settings
from scripts.judge.model import Judge, Judged, loss
from scripts.judge.own import conduct, pairs
from scripts.judge.pairs import Maker, Pair, articles, talk_articles
from scripts.judge.train import SEED, Read, Reading, batches, evaluate, tensors
from scripts.reader.model import padded
from scripts.reader.pairs import misspelt
from scripts.reader.train import BF16
from scripts.running import exit_code

EPOCHS = 2  # of the sections that are new to it
REHEARSED = 6000  # pairs of the first lesson; in the third lesson half of them
CONDUCT_EPOCHS = 3  # in the third lesson 1
CONDUCT_TEXTS = 96  # of a batch
CONDUCT_SHARE = 0.5  # of the loss
RATE, HEAD_RATE = 4e-5, 1e-3
WARM_UP = 30


class Kinds(NamedTuple):
    """A batch of texts, as token ids, and their kinds."""

    ids: list[list[int]]
    kinds: list[int]


def line() -> Fireside:
    """The persona's line as it was before there was a judge: its retrieval is all that is needed."""
    settings = load_settings()
    card = load_card(settings.persona)
    index = open_index(settings, card)
    return Fireside.open(card, index, LlamaEmbedder())


def plan(
    reading: Reading,
    own: Sequence[Pair],
    known: Sequence[Pair],
    general: Sequence[Pair],
    texts: Sequence[tuple[str, str]],
    draw: random.Random,
) -> list[list[Read] | Kinds]:
    """The batches of both kinds, mixed; `known` are pairs of the lesson before, which are rehearsed once."""
    out: list[list[Read] | Kinds] = []
    rehearsed = [*known, *draw.sample(list(general), REHEARSED // 2 if known else REHEARSED)]
    draw.shuffle(rehearsed)
    per_epoch = len(rehearsed) // EPOCHS
    for epoch in range(EPOCHS):
        part = [*own, *rehearsed[epoch * per_epoch : (epoch + 1) * per_epoch]]
        out += batches([reading.read(p) for p in part], draw)
    for _ in range(1 if known else CONDUCT_EPOCHS):
        order = list(texts)
        draw.shuffle(order)
        for at in range(0, len(order), CONDUCT_TEXTS):
            part_ = order[at : at + CONDUCT_TEXTS]
            ids = [reading.text(misspelt(text, draw)) for text, _ in part_]
            out.append(Kinds(ids, [CLASSES.index(kind) for _, kind in part_]))
    draw.shuffle(out)
    return out


def run(model: Judge, lesson: Sequence[list[Read] | Kinds]) -> None:
    """One pass over the batches."""
    bert = model.bert
    frozen = {bert.embeddings["position_embeddings"].weight, bert.embeddings["token_type_embeddings"].weight}
    heads = [*model.head.parameters(), *model.kinds.parameters()]
    groups = [([p for p in bert.parameters() if p not in frozen], RATE), (heads, HEAD_RATE)]
    optimiser = torch.optim.AdamW([{"params": p, "lr": r} for p, r in groups], weight_decay=0.01, fused=True)
    begun = time.monotonic()
    losses: dict[str, list[float]] = {"pairs": [], "conduct": []}
    model.train()
    for step, part in enumerate(lesson, 1):
        pace = min(1.0, step / WARM_UP) * max(0.02, 1 - step / len(lesson))
        for group, (_, own) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = own * pace
        optimiser.zero_grad()
        if isinstance(part, Kinds):
            logits = model.conduct(*padded(part.ids))
            lost = CONDUCT_SHARE * F.cross_entropy(logits, torch.tensor(part.kinds), label_smoothing=0.05)
            losses["conduct"].append(lost.item())
        else:
            batch = tensors(part)
            judged: Judged = model(batch.ids, batch.mask, batch.open)
            lost = loss(judged, batch.begins, batch.ends, batch.holds)
            losses["pairs"].append(lost.item())
        lost.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 25 == 0:
            shown = ", ".join(f"{k} {sum(v) / max(1, len(v)):.3f}" for k, v in losses.items())
            print(f"step {step} of {len(lesson)}, {time.monotonic() - begun:.0f} s, loss {shown}", flush=True)
            losses = {"pairs": [], "conduct": []}


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the judge further on our own fit cases.")
    parser.add_argument("upstream", type=Path, help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("checkpoint", type=Path, help="judge.safetensors of the first lesson")
    parser.add_argument("out", type=Path, help="folder for the result")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--half", type=int, choices=(1, 2), default=1, help="the second lesson's sections of fit")
    which.add_argument("--all", action="store_true", help="the third lesson: all sections of fit")
    parser.add_argument("--talks", action="store_true", help="learn from the invented talks too")
    parser.add_argument("--bf16", action="store_true", help=BF16)
    options = parser.parse_args()

    def work() -> None:
        torch.manual_seed(SEED)
        draw = random.Random(SEED)
        corpus, held = articles(options.data, SEED)
        fireside = line()
        cases = load_cases(split="fit")
        first, second = ([c for c in cases if taught(c) is half] for half in (True, False))
        talks = list(Maker(talk_articles(), draw).pairs()) if options.talks else list[Pair]()
        lesson = [*pairs(fireside, second if options.half == 2 else first, draw), *talks]
        own, known = (list(pairs(fireside, second, draw)), lesson) if options.all else (lesson, list[Pair]())
        texts = conduct(fireside, cases)
        fireside.close()
        print(f"{len(own):,} pairs {dict(Counter(p.kind for p in own))}, {len(texts):,} texts", flush=True)
        reading = Reading(options.upstream)
        model = Judge(options.upstream / "model.safetensors", bf16=options.bf16)
        model.load_state_dict(load_file(options.checkpoint), strict=False)
        run(model, plan(reading, own, known, list(Maker(corpus, draw).pairs()), texts, draw))
        options.out.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), options.out / "judge.safetensors")
        print(evaluate(model, reading, held), flush=True)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
