"""What is copied to a device and runs there, in one archive: standard library and numpy alone."""

from __future__ import annotations

from pathlib import Path

ARCHIVE = Path(__file__).parents[1]
"""On a device: the archive that this lies in."""

PARENT = "MOSDEPLOY_AGENT_PID"
"""Variable of the environment that tells a process who started it."""
