"""Testing kit: for this library's tests, and for those of applications and engines built on it."""

from sprint_agent.testing.conformance import ConformanceReport, check_engine
from sprint_agent.testing.scripted import CharTokenizer, Say, ScriptedEngine

__all__ = ["CharTokenizer", "ConformanceReport", "Say", "ScriptedEngine", "check_engine"]
