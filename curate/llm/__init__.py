"""Annotation by a language model: what it is asked, how its answers are read and held to the rules."""
