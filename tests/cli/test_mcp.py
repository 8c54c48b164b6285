"""`safelight mcp` where it cannot begin. What it does otherwise is in tests/story/test_agents.py."""

from typer.testing import CliRunner

from cli.main import app as command_line
from tests.stack import closed_port


def test_a_safelight_that_does_not_run_is_named() -> None:
    with closed_port() as port:
        result = CliRunner().invoke(command_line, ["mcp", "--url", f"http://127.0.0.1:{port}"])

    assert result.exit_code == 1
    assert f"Safelight does not answer at http://127.0.0.1:{port}: start it with `safelight up`" in result.stderr
