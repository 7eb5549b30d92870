"""llama.cpp: the one package that knows llama_cpp."""

from persona.llama.encoders import (
    EMBEDDING_MODEL,
    EMBEDDING_SHA256,
    JUDGE_HEAD,
    JUDGE_MODEL,
    JUDGE_SHA256,
    MAX_TOKENS,
    READER_HEAD,
    READER_MODEL,
    READER_SHA256,
    Encoder,
    Head,
    LlamaEmbedder,
    LlamaJudge,
    passes,
)

__all__ = [
    "EMBEDDING_MODEL",
    "EMBEDDING_SHA256",
    "JUDGE_HEAD",
    "JUDGE_MODEL",
    "JUDGE_SHA256",
    "MAX_TOKENS",
    "READER_HEAD",
    "READER_MODEL",
    "READER_SHA256",
    "Encoder",
    "Head",
    "LlamaEmbedder",
    "LlamaJudge",
    "passes",
]
