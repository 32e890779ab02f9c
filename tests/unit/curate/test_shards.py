"""Shards: each key is in exactly one of them, the same one on every machine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.read.shards import Shard, in_shard
from curate.trajectory import Trajectory


class TestShards:
    @given(st.text(), st.integers(1, 50))
    @settings(deadline=None)
    def test_each_key_is_in_exactly_one(self, key: str, count: int) -> None:
        assert sum(in_shard(key, Shard(number, count)) for number in range(1, count + 1)) == 1

    def test_their_sizes_are_similar_and_the_same_on_every_machine(self) -> None:
        sizes = [sum(in_shard(str(k), Shard(n, 4)) for k in range(2000)) for n in range(1, 5)]
        assert sum(sizes) == 2000
        assert min(sizes) > 400
        assert [k for k in range(20) if in_shard(str(k), Shard(1, 4))] == [5, 11, 13, 16, 18]

    def test_trajectories_on_one_question_stay_together(self) -> None:
        one, other = Trajectory("Q  a?", "x", "1"), Trajectory("Q a?\n", "y", "2")
        for number in range(1, 4):
            shard = Shard(number, 3)
            assert in_shard(one.question_key, shard) == in_shard(other.question_key, shard)

    def test_a_shard_is_read_from_text(self) -> None:
        assert Shard.parse(" 2/8") == Shard(2, 8)

    @pytest.mark.parametrize(
        "text", ["", "0/2", "3/2", "1", "1/2/3", "-1/2", "a/b", "1/0", "1/99999999"]
    )
    def test_other_text_is_not_a_shard(self, text: str) -> None:
        with pytest.raises(ValueError, match="shard"):
            Shard.parse(text)
