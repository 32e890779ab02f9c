"""Annotation by a language model: the prompts, the reading of answers, and the rules they must obey."""
