"""The keys of a trajectory: the same on every machine, and different for different texts."""

from __future__ import annotations

from curate.trajectory import Trajectory


def test_keys_are_the_same_on_every_machine() -> None:
    given = Trajectory("What is 2 + 2?", "So 4.", "4")
    # The cache and the recorded answers of the example use these keys.
    assert given.key == "5643c0ee6425c8e92e8d8195"
    assert given.question_key == "38d46ad3618826cf660df542"


def test_white_space_does_not_change_the_question() -> None:
    one, other = Trajectory("Q  a?", "x", "1"), Trajectory("Q a?\n", "x", "1")
    assert one.question_key == other.question_key
    assert one.key != other.key


def test_the_border_between_question_and_text_matters() -> None:
    assert Trajectory("ab", "c", "1").key != Trajectory("a", "bc", "1").key


def test_an_unpaired_surrogate_has_a_key() -> None:
    assert Trajectory("\ud800", "", "1").key != Trajectory("\ud801", "", "1").key
