"""What a confinement keeps away, and what it says of the rest."""

from __future__ import annotations

import pytest

from sprint_agent.executors.python.confinement import Confinement

NAMES = frozenset({"user", "pid", "network", "ipc", "mount"})


def test_a_report_is_read() -> None:
    assert Confinement.read("7 True user,pid") == Confinement(7, True, frozenset({"user", "pid"}))
    assert Confinement.read("0 False ") == Confinement()


@pytest.mark.parametrize("landlock", [0, 1, 7])
def test_without_gaps(landlock: int) -> None:
    assert Confinement(landlock, True, NAMES).gaps == ()


def test_the_gaps_of_a_container() -> None:
    assert Confinement(1, True).gaps == ("fill the disk of the temporary folder while it runs",)


def test_with_the_limits_alone_all_gaps_are_there() -> None:
    assert len(Confinement().gaps) == 9


def test_each_layer_closes_gaps() -> None:
    everything = set(Confinement().gaps)
    for some in (Confinement(1), Confinement(0, True), Confinement(0, False, NAMES)):
        assert set(some.gaps) < everything
