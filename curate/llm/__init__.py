"""Asks language models for annotations: the client, its cache, its retries and its cost."""
