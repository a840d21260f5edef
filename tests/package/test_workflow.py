"""The workflow of continuous integration: what a job does, a contributor can do with the same line."""

import re
from typing import Any

import pytest
import yaml

from tests.support import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    """The lines that a job runs, in all entries of its matrix."""
    entries = job.get("strategy", {}).get("matrix", {}).get("include", [])
    lines = [step["run"] for step in job["steps"] if "run" in step]
    return [x for line in lines for x in ([e["run"] for e in entries] if line == "${{ matrix.run }}" else [line])]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_runs_make_and_ends_in_time(job: dict[str, Any]) -> None:
    assert commands(job)
    for line in commands(job):
        assert re.fullmatch(r"make [\w-]+( [A-Z_]+=\S*)*", line), line
        assert f"\n{line.split()[1]}:" in (ROOT / "Makefile").read_text("utf-8"), line
    assert job["timeout-minutes"] <= 60


def test_actions_are_pinned_to_a_major_version_and_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in JOBS.values())
    actions = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert actions
    for action in actions:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", action), action


def test_every_line_of_the_local_checks_is_a_job() -> None:
    local = re.findall("^make .*$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    assert local
    assert set(local) <= {line for job in JOBS.values() for line in commands(job)}
