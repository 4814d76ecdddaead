"""What a call leaves in the log: names and values, in the order they were noted."""

from __future__ import annotations

from typing import Any

Notes = dict[str, Any]
