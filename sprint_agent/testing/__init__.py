"""The testing kit for this library, and for applications and engines that are built on it.

It needs only the core: no test framework and no HTTP library.
"""

from sprint_agent.testing.cancel import CancelReport, Leak, cancel_everywhere
from sprint_agent.testing.conformance import ConformanceReport, check_engine
from sprint_agent.testing.fault_server.faults import (
    ALL,
    BAD_JSON,
    BAD_SSE,
    Crash,
    Declined,
    Drip,
    Failure,
    Fault,
    Filtered,
    Garbage,
    Reset,
    SingleNewlines,
    Slow,
    Stall,
    Status,
    Truncated,
    Unfinished,
)
from sprint_agent.testing.fault_server.server import Disconnect, FaultServer, ReceivedRequest
from sprint_agent.testing.scripted import CharTokenizer, Reply, ScriptedEngine

__all__ = [
    "ALL",
    "BAD_JSON",
    "BAD_SSE",
    "CancelReport",
    "CharTokenizer",
    "ConformanceReport",
    "Crash",
    "Declined",
    "Disconnect",
    "Drip",
    "Failure",
    "Fault",
    "FaultServer",
    "Filtered",
    "Garbage",
    "Leak",
    "ReceivedRequest",
    "Reply",
    "Reset",
    "ScriptedEngine",
    "SingleNewlines",
    "Slow",
    "Stall",
    "Status",
    "Truncated",
    "Unfinished",
    "cancel_everywhere",
    "check_engine",
]
