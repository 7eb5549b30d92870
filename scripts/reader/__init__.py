"""Makes the bundled reader: a late-interaction model (ColBERT) from all-MiniLM-L6-v2."""
