"""The reader in PyTorch: BERT as all-MiniLM-L6-v2 has it, and late interaction on top."""

# torch is no dependency of the project: only this folder needs it.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUntypedBaseClass=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  the name that everybody knows it by
from safetensors.torch import load_file
from torch import Tensor, nn

DIMENSIONS, HEADS, INNER, LAYERS, VOCABULARY, POSITIONS = 384, 12, 1536, 6, 30522, 512
DROPOUT = 0.1


class Dropout(nn.Module):
    """Dropout; `shared`: one mask for all tokens of a text (Gal & Ghahramani 2016), a quarter of a step cheaper on a CPU."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        """(texts, tokens, n) → the same shape."""
        if not self.shared or not self.training:
            return F.dropout(x, DROPOUT, self.training)
        return x * F.dropout(torch.ones(x.shape[0], 1, x.shape[2]), DROPOUT)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), the parameters named as in BERT."""

    def __init__(self, dropout: Dropout) -> None:
        super().__init__()
        self.dropout = dropout
        self.self = nn.ModuleDict({n: nn.Linear(DIMENSIONS, DIMENSIONS) for n in ("query", "key", "value")})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(DIMENSIONS, DIMENSIONS), "LayerNorm": nn.LayerNorm(DIMENSIONS, eps=1e-12)}
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(texts, tokens, 384) → the same shape."""
        texts, tokens, _ = x.shape
        q, k, v = (self.self[n](x).view(texts, tokens, HEADS, -1).transpose(1, 2) for n in ("query", "key", "value"))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(x.shape)
        return self.output["LayerNorm"](x + self.dropout(self.output["dense"](mixed)))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, dropout: Dropout) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = Attention(dropout)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(DIMENSIONS, INNER)})
        self.output = nn.ModuleDict(
            {"dense": nn.Linear(INNER, DIMENSIONS), "LayerNorm": nn.LayerNorm(DIMENSIONS, eps=1e-12)}
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(texts, tokens, 384) → the same shape."""
        x = self.attention(x, mask)
        inner = self.output["dense"](F.gelu(self.intermediate["dense"](x)))
        return self.output["LayerNorm"](x + self.dropout(inner))


class Bert(nn.Module):
    """BERT without its pooler; the state dict has upstream's names, so that upstream's file loads as it is."""

    def __init__(self, weights: Path, *, shared_dropout: bool = False, bf16: bool = False) -> None:
        super().__init__()
        self._bf16 = bf16
        self.dropout = Dropout(shared_dropout)
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(VOCABULARY, DIMENSIONS),
                "position_embeddings": nn.Embedding(POSITIONS, DIMENSIONS),
                "token_type_embeddings": nn.Embedding(2, DIMENSIONS),
                "LayerNorm": nn.LayerNorm(DIMENSIONS, eps=1e-12),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(self.dropout) for _ in range(LAYERS))})
        wanted = self.state_dict()
        self.load_state_dict({k: v for k, v in load_file(weights).items() if k in wanted})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (texts, tokens) → token rows (texts, tokens, 384). Token type 0 throughout, as llama.cpp runs it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            return self._rows(ids, mask).float()

    def _rows(self, ids: Tensor, mask: Tensor) -> Tensor:
        at = torch.arange(ids.shape[1])
        e = self.embeddings
        x = e["word_embeddings"](ids) + e["position_embeddings"](at) + e["token_type_embeddings"].weight[0]
        x = self.dropout(e["LayerNorm"](x))
        for layer in self.encoder["layer"]:
            x = layer(x, mask[:, None, None, :].bool())
        return x


class Scores(NamedTuple):
    """Scores (questions, sentences) of all sentences of a batch, and whose paragraph each sentence is (sentences,)."""

    scores: Tensor
    owner: Tensor


class Reader(nn.Module):
    """Late interaction with learned weights of the question's tokens, and a share of the pooled cosine.

    score = a · Σᵢ wᵢ maxⱼ cos(qᵢ, sⱼ) + b · cos(mean q, mean s); only the first part is used at run time, the second keeps
    the training near where all-MiniLM-L6-v2 began.
    """

    def __init__(self, weights: Path, *, bf16: bool = False) -> None:
        super().__init__()
        self.bert = Bert(weights, bf16=bf16)
        self.term = nn.Linear(DIMENSIONS, 1)
        nn.init.zeros_(self.term.weight)
        nn.init.constant_(self.term.bias, 1.0)
        self.mix = nn.Parameter(torch.tensor([15.0, 10.0]))

    def forward(self, questions: Sequence[Sequence[int]], texts: Sequence[tuple[list[int], list[int]]]) -> Scores:
        """Questions as token ids; texts as token ids with the sentence number of each token (-1: none)."""
        ids, mask = padded(questions)
        rows = self.bert(ids, mask)
        unit = F.normalize(rows, dim=-1)
        weight = F.softplus(self.term(rows).squeeze(-1)) * mask
        weight = weight / weight.sum(1, keepdim=True)
        pooled = F.normalize((rows * mask[..., None]).sum(1), dim=-1)
        read = self.bert(*padded([ids for ids, _ in texts]))
        best: list[Tensor] = []
        means: list[Tensor] = []
        owner: list[int] = []
        for number, (_, sentence_of) in enumerate(texts):
            places = torch.tensor(sentence_of)
            for sentence in range(max(sentence_of) + 1):
                own = read[number, (places == sentence).nonzero().squeeze(1)]
                best.append((unit.reshape(-1, DIMENSIONS) @ F.normalize(own, dim=-1).T).max(1).values)
                means.append(own.mean(0))
                owner.append(number)
        matched = torch.stack(best, 1).view(*ids.shape, len(best))
        late = (matched * weight[..., None]).sum(1)
        near = pooled @ F.normalize(torch.stack(means), dim=-1).T
        return Scores(self.mix[0] * late + self.mix[1] * near, torch.tensor(owner))


def padded(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (texts, longest) and which of them are there."""
    longest = max(map(len, texts))
    ids, mask = torch.zeros(len(texts), longest, dtype=torch.long), torch.zeros(len(texts), longest)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(list(text))
        mask[row, : len(text)] = 1
    return ids, mask
