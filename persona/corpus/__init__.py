"""The talks: their catalog, the parsers of every format, who speaks, and the passages made of them."""

from persona.corpus.catalog import Catalog, DocumentEntry, TalkEntry, load_catalog
from persona.corpus.corpus import Corpus, load_corpus
from persona.corpus.document import Document, Word

__all__ = ["Catalog", "Corpus", "Document", "DocumentEntry", "TalkEntry", "Word", "load_catalog", "load_corpus"]
