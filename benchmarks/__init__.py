"""Benchmarks of the runtime, the curation and the training. They measure and assert nothing."""
