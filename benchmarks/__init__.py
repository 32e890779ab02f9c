"""Benchmarks: what running side by side is worth, measured. They assert nothing."""
