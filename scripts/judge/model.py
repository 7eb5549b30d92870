"""The judge in PyTorch: BERT as all-MiniLM-L6-v2 has it, reading question and passage together, and three linear units."""

# torch is no dependency of the project: only this folder needs it.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUntypedBaseClass=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody knows it by
from torch import Tensor, nn

from persona.conduct import CLASSES
from scripts.reader.model import DIMENSIONS, Bert

SPAN_SHARE = 0.5  # of the loss that asks where the answer stands


class Judged(NamedTuple):
    """Logits: that the passage answers (pairs,), and that the answer begins and ends at a token (pairs, tokens)."""

    holds: Tensor
    begins: Tensor
    ends: Tensor


class Judge(nn.Module):
    """A cross-encoder with a verdict at [CLS] and a span head, whose [CLS] stands for "no answer" (Devlin et al. 2019)."""

    def __init__(self, weights: Path, *, bf16: bool = False) -> None:
        super().__init__()
        self.bert = Bert(weights, shared_dropout=True, bf16=bf16)
        self.head = nn.Linear(DIMENSIONS, 3)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.kinds = nn.Linear(DIMENSIONS, len(CLASSES))

    def forward(self, ids: Tensor, mask: Tensor, open_: Tensor) -> Judged:
        """Token ids, which are there, and which an answer may begin or end at ([CLS] among them): (pairs, tokens)."""
        rows = self.bert(ids, mask)
        logits = self.head(self.bert.dropout(rows))
        closed = ~open_
        return Judged(logits[:, 0, 0], *(logits[:, :, i].masked_fill(closed, -1e4) for i in (1, 2)))

    def conduct(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits of the kinds of conduct (texts, kinds), of texts read alone."""
        return self.kinds(self.bert.dropout(self.bert(ids, mask))[:, 0])


def loss(judged: Judged, begins: Tensor, ends: Tensor, holds: Tensor, smooth: float = 0.02) -> Tensor:
    """Cross entropy of the verdict, and of the tokens that an answer may begin and end at, any of which is right."""
    verdict = F.binary_cross_entropy_with_logits(judged.holds, holds * (1 - 2 * smooth) + smooth)
    place = torch.zeros(())
    for logits, right in ((judged.begins, begins), (judged.ends, ends)):
        place = place + (torch.logsumexp(logits, 1) - torch.logsumexp(logits.masked_fill(~right, -1e4), 1)).mean() / 2
    return verdict + SPAN_SHARE * place
