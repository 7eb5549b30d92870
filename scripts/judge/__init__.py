"""Makes the bundled judge: a cross-encoder from all-MiniLM-L6-v2 that says whether a passage holds the answer, and where."""
