"""Trains the judge on the CPU, with checkpoints that a later call goes on from.

    python -m scripts.judge.train UPSTREAM DATA OUT [--epochs N] [--bf16]

UPSTREAM holds model.safetensors and tokenizer.json of sentence-transformers/all-MiniLM-L6-v2, DATA the data sets (see
persona/weights/README.md); OUT gets judge.safetensors and optimiser.pt. Needs the `training` extra. Run it alone: another
busy process on the same cores slows it tenfold.
"""

# torch is no dependency of the project: only this folder needs it.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from scripts.judge.model import Judge, Judged, loss
from scripts.judge.pairs import Article, Maker, Pair, articles, windows
from scripts.reader.train import BF16
from scripts.running import exit_code

SEED = 0
TOKENS = 3600  # of a batch
QUESTION_TOKENS, TEXT_TOKENS = 48, 176
BUCKET = 1024  # pairs that are ordered by length together
RATE, HEAD_RATE = 6e-5, 1e-3
WARM_UP = 60  # steps
SAVED = 200  # steps between checkpoints
CLS, SEP = 101, 102


class Read(NamedTuple):
    """A pair for the model: token ids, where the passage's tokens begin, and the tokens at which answers begin and end."""

    ids: list[int]
    text_at: int
    begins: list[int]
    ends: list[int]


class Reading:
    """Makes token ids of pairs."""

    def __init__(self, upstream: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(upstream / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def read(self, pair: Pair) -> Read:
        """[CLS] question [SEP] passage [SEP], token type 0 throughout."""
        question = self._tokenizer.encode(pair.question).ids[1:-1][:QUESTION_TOKENS]
        encoded = self._tokenizer.encode(pair.text)
        ids, offsets = encoded.ids[1:-1][:TEXT_TOKENS], encoded.offsets[1:-1][:TEXT_TOKENS]
        at = len(question) + 2
        begins, ends = set[int](), set[int]()
        for start, end in pair.answers:
            inside = [i for i, (a, b) in enumerate(offsets) if a < end and start < b]
            if inside:
                # A whole sentence as the answer: any of its tokens may begin and end it.
                begins |= set(inside[:1] if end - start < 100 else inside)
                ends |= set(inside[-1:] if end - start < 100 else inside)
        return Read([CLS, *question, SEP, *ids, SEP], at, [at + i for i in begins], [at + i for i in ends])

    def text(self, text: str) -> list[int]:
        """A text alone: [CLS] text [SEP]."""
        return [CLS, *self._tokenizer.encode(text).ids[1:-1][:TEXT_TOKENS], SEP]


def batches(reads: Sequence[Read], draw: random.Random) -> list[list[Read]]:
    """Batches of about TOKENS tokens, of pairs of like length, in any order."""
    order = list(reads)
    draw.shuffle(order)
    out: list[list[Read]] = []
    for at in range(0, len(order), BUCKET):
        part: list[Read] = []
        for one in sorted(order[at : at + BUCKET], key=lambda r: len(r.ids)):
            if part and (len(part) + 1) * len(one.ids) > TOKENS:
                out.append(part)
                part = []
            part.append(one)
        out.append(part)
    draw.shuffle(out)
    return out


class Tensors(NamedTuple):
    """A batch: ids, mask, open places, right beginnings and ends, whether the passage answers."""

    ids: Tensor
    mask: Tensor
    open: Tensor
    begins: Tensor
    ends: Tensor
    holds: Tensor


def tensors(batch: Sequence[Read]) -> Tensors:
    """The batch as tensors (pairs, tokens)."""
    shape = (len(batch), max(len(r.ids) for r in batch))
    ids = torch.zeros(shape, dtype=torch.long)
    mask, open_, begins, ends = (torch.zeros(shape, dtype=torch.bool) for _ in range(4))
    holds = torch.zeros(len(batch))
    for row, read in enumerate(batch):
        ids[row, : len(read.ids)] = torch.tensor(read.ids)
        mask[row, : len(read.ids)] = True
        open_[row, 0] = True
        open_[row, read.text_at : len(read.ids) - 1] = True
        begins[row, read.begins or [0]] = True
        ends[row, read.ends or [0]] = True
        holds[row] = float(bool(read.begins))
    return Tensors(ids, mask, open_, begins, ends, holds)


@torch.no_grad()
def judge(model: Judge, reads: Sequence[Read]) -> Tensor:
    """For each pair (verdict, best span against none): logits (pairs, 2)."""
    model.eval()
    order = sorted(range(len(reads)), key=lambda i: len(reads[i].ids))
    out = torch.zeros(len(reads), 2)
    for at in range(0, len(order), 32):
        part = order[at : at + 32]
        batch = tensors([reads[i] for i in part])
        judged: Judged = model(batch.ids, batch.mask, batch.open)
        span = judged.begins[:, 1:].max(1).values + judged.ends[:, 1:].max(1).values
        out[part] = torch.stack([judged.holds, span - judged.begins[:, 0] - judged.ends[:, 0]], 1)
    model.train()
    return out


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The probability that a positive scores higher than a negative; ties count half."""
    have = torch.tensor(positive)[:, None] - torch.tensor(negative)[None]
    return float(((have > 0).float() + 0.5 * (have == 0).float()).mean())


def evaluate(model: Judge, reading: Reading, held: Sequence[Article], limit: int = 700) -> str:
    """Questions of held-out SQuAD articles against their own paragraph: the best of its passages counts."""
    asked = [(p, q) for a in held for p in a.paragraphs for q in p.questions]
    random.Random(SEED).shuffle(asked)
    reads: list[Read] = []
    owner: list[int] = []
    for number, (paragraph, question) in enumerate(asked[:limit]):
        for window in windows(paragraph, 60):
            reads.append(reading.read(Pair(question.question, paragraph.text[window.start : window.end], (), "")))
            owner.append(number)
    found = judge(model, reads)
    scores = [[-1e9, -1e9] for _ in asked[:limit]]
    for number, row in zip(owner, found.tolist(), strict=True):
        scores[number] = [max(a, b) for a, b in zip(scores[number], row, strict=True)]
    answered = [bool(q.spans) for _, q in asked[:limit]]
    out: list[str] = []
    for column, name in enumerate(("verdict", "span")):
        yes = [s[column] for s, a in zip(scores, answered, strict=True) if a]
        no = [s[column] for s, a in zip(scores, answered, strict=True) if not a]
        out.append(f"{name} {auroc(yes, no):.3f}")
    counts = f"n {sum(answered)} and {len(answered) - sum(answered)}"
    return f"held-out articles, own paragraph, AUROC: {', '.join(out)}; {counts}"


class Trainer:
    """Trains on pairs that are drawn anew each epoch."""

    def __init__(self, upstream: Path, out: Path, bf16: bool = False) -> None:
        torch.manual_seed(SEED)
        self.reading = Reading(upstream)
        self.model = Judge(upstream / "model.safetensors", bf16=bf16)
        self._out = out

    def train(self, corpus: Sequence[Article], held: Sequence[Article], epochs: int) -> None:
        """Every epoch's pairs once; goes on from OUT's checkpoint if it has one."""
        plan: list[list[Read]] = []
        for epoch in range(epochs):
            draw = random.Random(SEED + epoch)
            plan += batches([self.reading.read(p) for p in Maker(corpus, draw).pairs()], draw)
        print(f"{sum(map(len, plan)):,} pairs in {len(plan):,} batches", flush=True)
        run(self.model, plan, self._out, RATE)
        print(evaluate(self.model, self.reading, held), flush=True)


def run(model: Judge, plan: Sequence[Sequence[Read]], out: Path, rate: float) -> None:
    """One pass over the batches, the learning rate rising and then falling to nothing."""
    bert = model.bert
    frozen = {bert.embeddings["position_embeddings"].weight, bert.embeddings["token_type_embeddings"].weight}
    groups = [([p for p in bert.parameters() if p not in frozen], rate), (list(model.head.parameters()), HEAD_RATE)]
    optimiser = torch.optim.AdamW([{"params": p, "lr": r} for p, r in groups], weight_decay=0.01, fused=True)
    done = 0
    if (out / "optimiser.pt").is_file():
        model.load_state_dict(load_file(out / "judge.safetensors"))
        state = torch.load(out / "optimiser.pt", weights_only=True)
        optimiser.load_state_dict(state["optimiser"])
        done = state["step"]
        torch.manual_seed(SEED + done)
    begun, total, count = time.monotonic(), 0.0, 0
    model.train()
    for step, part in enumerate(plan[done:], done + 1):
        pace = min(1.0, step / WARM_UP) * max(0.02, 1 - step / len(plan))
        for group, (_, own) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = own * pace
        batch = tensors(part)
        judged: Judged = model(batch.ids, batch.mask, batch.open)
        lost = loss(judged, batch.begins, batch.ends, batch.holds)
        optimiser.zero_grad()
        lost.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        total, count = total + lost.item(), count + 1
        if step % 25 == 0:
            spent = time.monotonic() - begun
            print(f"step {step} of {len(plan)}, {spent:.0f} s, loss {total / count:.3f}", flush=True)
            total, count = 0.0, 0
        if step % SAVED == 0 or step == len(plan):
            save_file(model.state_dict(), out / "judge.safetensors")
            torch.save({"step": step, "optimiser": optimiser.state_dict()}, out / "optimiser.pt")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the judge.")
    parser.add_argument("upstream", type=Path, help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("out", type=Path, help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help=BF16)
    options = parser.parse_args()

    def work() -> None:
        corpus, held = articles(options.data, SEED)
        options.out.mkdir(parents=True, exist_ok=True)
        Trainer(options.upstream, options.out, options.bf16).train(corpus, held, options.epochs)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
