"""The line: question, retrieve, decide, compose, verify, Reply."""
