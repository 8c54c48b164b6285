"""`safelight fine-tune create | list | show | events | cancel`, against a real API."""

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.main import app
from tests.contract.pipelines import warnings_of_diffusers
from tests.fine_tuning.files import a_line, lines
from tests.stack import Stack

pytestmark = warnings_of_diffusers


def test_jobs_are_created_listed_shown_and_cancelled(safelight: Stack, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        """The output; of a command that refuses, the sentence."""
        result = CliRunner().invoke(app, ["fine-tune", *arguments, "--url", safelight.url])
        assert (result.exit_code == 0) == (result.stdout != ""), result.output
        return result.stdout or result.stderr

    file = tmp_path / "flags.jsonl"
    file.write_bytes(lines(a_line("red")))
    create = ("create", str(file), "--model", "tiny-sdxl", "--steps")
    job_id = run(*create, "3").strip()
    assert job_id.startswith("ftjob-"), job_id

    assert run("list").splitlines()[1].split()[:3] == [job_id, "validating_files", "0/3"]
    assert json.loads(run("show", job_id, "--json"))["id"] == job_id
    assert run("events", job_id).splitlines()[0] == f"Created fine-tuning job: {job_id}"
    assert run("cancel", job_id) == f"{job_id} is cancelled.\n"
    assert "is not the id of a fine-tuning job" in run("show", "job_1")
    assert "allows 1 to 2000" in run(*create, "3000")
