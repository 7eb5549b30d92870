"""Trains the reader on the CPU, with a checkpoint after every epoch that a later call goes on from.

    python -m scripts.reader.train UPSTREAM DATA OUT [--epochs N] [--bf16]

UPSTREAM holds model.safetensors and tokenizer.json of sentence-transformers/all-MiniLM-L6-v2, DATA the three data sets (see
persona/weights/README.md); OUT gets reader.safetensors and optimiser.pt. Needs the `training` extra. Run it alone: another
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

from scripts.reader.model import Reader
from scripts.reader.pairs import Article, Paragraph, batches, load, misspelt
from scripts.running import exit_code

SEED = 0
BATCH = 15  # paragraphs
QUESTIONS = 5  # of a paragraph in one batch
QUESTION_TOKENS, TEXT_TOKENS = 64, 256
RATE, TERM_RATE, MIX_RATE = 5e-5, 1e-3, 1e-2
WARM_UP = 40  # steps
COOL_DOWN = 3  # epochs in which the rate falls to nothing; the first of them is enough
CLS, SEP = 101, 102
BF16 = "multiply in bfloat16: on a CPU that has it in silicon (AVX-512 BF16, AMX) a step takes three fifths of the time"


class Read(NamedTuple):
    """A paragraph for the model: token ids, the sentence of each token, and the new number of each kept sentence."""

    ids: list[int]
    sentence_of: list[int]
    number: dict[int, int]


class Batch(NamedTuple):
    """Questions, texts, and for each question the right columns and the text it is about."""

    questions: list[str]
    texts: list[Read]
    right: list[list[int]]
    about: list[int]


class Trainer:
    """The model with its tokenizer and its source of chance."""

    def __init__(self, upstream: Path, bf16: bool = False) -> None:
        torch.manual_seed(SEED)
        self.draw = random.Random(SEED)
        self.tokenizer = Tokenizer.from_file(str(upstream / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.model = Reader(upstream / "model.safetensors", bf16=bf16)
        self._read: dict[int, Read] = {}

    def read(self, paragraph: Paragraph) -> Read:
        """The paragraph's tokens, once."""
        if id(paragraph) not in self._read:
            encoded = self.tokenizer.encode(paragraph.text)
            room = TEXT_TOKENS - 2
            ids, offsets = encoded.ids[1:-1][:room], encoded.offsets[1:-1][:room]
            last = len(paragraph.sentences) - 1
            of = [next((i for i, (a, b) in enumerate(paragraph.sentences) if a <= at < b), last) for at, _ in offsets]
            number = {sentence: i for i, sentence in enumerate(sorted(set(of)))}
            self._read[id(paragraph)] = Read([CLS, *ids, SEP], [-1, *(number[s] for s in of), -1], number)
        return self._read[id(paragraph)]

    def batch(self, paragraphs: Sequence[Paragraph]) -> Batch:
        """What one step sees."""
        made = Batch([], [], [], [])
        first = 0
        for paragraph in paragraphs:
            text = self.read(paragraph)
            if not text.number:
                continue
            for question, sentences in self.draw.sample(paragraph.questions, min(QUESTIONS, len(paragraph.questions))):
                right = [first + text.number[n] for n in sentences if n in text.number]
                if right:
                    made.questions.append(question)
                    made.right.append(right)
                    made.about.append(len(made.texts))
            made.texts.append(text)
            first += len(text.number)
        return made

    def scores(self, batch: Batch, questions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, which of them are right, and which belong to the question's own paragraph: (questions, sentences)."""
        ids = [self.tokenizer.encode(q).ids for q in questions]
        cut = [i if len(i) <= QUESTION_TOKENS else [*i[: QUESTION_TOKENS - 1], SEP] for i in ids]
        scores, owner = self.model(cut, [(t.ids, t.sentence_of) for t in batch.texts])
        right = torch.zeros_like(scores, dtype=torch.bool)
        for row, columns in enumerate(batch.right):
            right[row, columns] = True
        return scores, right, owner[None] == torch.tensor(batch.about)[:, None]

    def loss(self, paragraphs: Sequence[Paragraph]) -> Tensor | None:
        """Cross entropy of the right sentences among the batch's, plus that among their own paragraph's."""
        batch = self.batch(paragraphs)
        if not batch.questions:
            return None
        scores, right, inside = self.scores(batch, [misspelt(q, self.draw) for q in batch.questions])
        hit = torch.logsumexp(scores.masked_fill(~right, -1e4), 1)
        among = torch.logsumexp(scores, 1) + torch.logsumexp(scores.masked_fill(~inside, -1e4), 1)
        return (among - 2 * hit).mean()

    @torch.no_grad()
    def evaluate(self, articles: Sequence[Article]) -> str:
        """How often the best sentence is right: in its own paragraph, and among up to eight of the article."""
        self.model.eval()
        own = among = count = 0
        for article in articles:
            for at in range(0, len(article.paragraphs), 8):
                batch = self.batch(article.paragraphs[at : at + 8])
                if batch.questions:
                    scores, right, inside = self.scores(batch, batch.questions)
                    best = scores.masked_fill(~inside, -1e4).argmax(1)
                    own += int(right.gather(1, best[:, None]).sum())
                    among += int(right.gather(1, scores.argmax(1)[:, None]).sum())
                    count += len(batch.questions)
        self.model.train()
        return f"right sentence of the paragraph {own / count:.3f}, of 8 paragraphs {among / count:.3f}, n {count}"

    def train(self, articles: Sequence[Article], held: Sequence[Article], out: Path, epochs: int) -> None:
        """Epoch by epoch; goes on from OUT's checkpoint if it has one."""
        bert = self.model.bert
        frozen = {bert.embeddings["position_embeddings"].weight, bert.embeddings["token_type_embeddings"].weight}
        groups = [([p for p in bert.parameters() if p not in frozen], RATE)]
        groups += [(list(self.model.term.parameters()), TERM_RATE), ([self.model.mix], MIX_RATE)]
        optimiser = torch.optim.AdamW([{"params": p, "lr": rate} for p, rate in groups], weight_decay=0.01)
        steps = sum(1 for _ in batches(articles, BATCH, random.Random(SEED))) * max(COOL_DOWN, epochs)
        done, step = self._resume(out, optimiser)
        begun = time.monotonic()
        print(f"before: {self.evaluate(held)}", flush=True)
        for epoch in range(done, epochs):
            for paragraphs in batches(articles, BATCH, self.draw):
                step += 1
                pace = min(1.0, step / WARM_UP) * max(0.02, 1 - step / steps)
                for group, (_, rate) in zip(optimiser.param_groups, groups, strict=True):
                    group["lr"] = rate * pace
                loss = self.loss(paragraphs)
                if loss is None:
                    continue
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimiser.step()
                if step % 25 == 0:
                    print(
                        f"step {step} of {steps}, {time.monotonic() - begun:.0f} s, loss {loss.item():.3f}", flush=True
                    )
            save_file(self.model.state_dict(), out / "reader.safetensors")
            torch.save({"epoch": epoch + 1, "step": step, "optimiser": optimiser.state_dict()}, out / "optimiser.pt")
            print(f"epoch {epoch + 1}: {self.evaluate(held)}", flush=True)

    def _resume(self, out: Path, optimiser: torch.optim.Optimizer) -> tuple[int, int]:
        if not (out / "optimiser.pt").is_file():
            return 0, 0
        self.model.load_state_dict(load_file(out / "reader.safetensors"))
        state = torch.load(out / "optimiser.pt", weights_only=True)
        optimiser.load_state_dict(state["optimiser"])
        self.draw.seed(SEED + state["epoch"])
        return state["epoch"], state["step"]


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the reader.")
    parser.add_argument("upstream", type=Path, help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("out", type=Path, help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help=BF16)
    options = parser.parse_args()

    def work() -> None:
        articles, held = load(options.data, SEED)
        options.out.mkdir(parents=True, exist_ok=True)
        Trainer(options.upstream, options.bf16).train(articles, held, options.out, options.epochs)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
