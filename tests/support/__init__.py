"""What the tests share: definitions, lists of cases, processes and helpers."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root of the repository."""
