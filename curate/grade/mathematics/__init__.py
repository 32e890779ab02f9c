"""Compares answers as mathematics.

    text ─▶ characters ─▶ tokens ─▶ expression, interval, relation, … ─▶ comparison

Every character of an answer becomes a part of what is compared, or is known layout, or the answer is
said to be unreadable. Nothing is evaluated but the trees that the parser builds.
"""
