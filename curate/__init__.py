"""Curation: from what a reasoning model wrote, in sequence, to the data that teaches planning."""
