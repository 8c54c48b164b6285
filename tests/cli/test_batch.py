"""`safelight batch`, run as a user runs it, against a real API: input files, output files, refusals."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from cli.batch.output_directory import safe_name
from tests.cli.batches import Prompts, csv_lines
from tests.cli.terminal import SMALL, Terminal, command, read_screen
from tests.spreadsheets import xlsx
from tests.stack import Stack
from tests.waiting import PATIENCE

CSV = "custom_id,prompt,n,seed\ncat,A cat.,2,7\nred/house,A red house.,,\n,A dog.,,\n"
TXT = "A cat.\n\nA dog.\n"
TXT_IMAGES = [f"line-{line}-{index}.jpg" for line in ("00001-a-cat", "00003-a-dog") for index in (0, 1)]
JSONL = "\n".join(
    json.dumps({"custom_id": name, "method": "POST", "url": "/v1/images/generations", "body": {"prompt": name, **SIZE}})
    for SIZE in [{"size": "64x64", "model": "fake"}]
    for name in ("cat", "dog")
)


@pytest.mark.parametrize(
    ("name", "text", "options", "images"),
    [
        ("a.csv", CSV, SMALL, ["cat-0.png", "cat-1.png", "line-00004-a-dog-0.png", f"{safe_name('red/house')}-0.png"]),
        ("a.txt", TXT, (*SMALL, "--format", "jpeg", "-n", "2"), TXT_IMAGES),
        ("a.jsonl", JSONL, (), ["cat-0.png", "dog-0.png"]),
    ],
)
def test_a_file_of_prompts_becomes_a_directory_of_images(
    terminal: Terminal, name: str, text: str, options: Sequence[str], images: Sequence[str]
) -> None:
    prompts = Prompts(terminal, name, text)

    result = terminal.run(*prompts.command(*options))

    assert (result.returncode, result.stdout) == (0, f"{prompts.out}/manifest.csv\n"), result.stderr
    assert prompts.images() == images
    for image in images:
        with Image.open(prompts.out / image) as content:
            content.load()
    assert sorted(row["file"] for row in prompts.manifest()) == images
    assert not (prompts.out / "errors.jsonl").exists()
    assert f"Images in {prompts.out}: {len(images)}." in result.stderr


def test_prompts_may_come_by_standard_input(terminal: Terminal) -> None:
    arguments = ("batch", "-", "--out", "images", *SMALL)

    result = subprocess.run(
        command(*arguments),
        env={**os.environ, **terminal.settings},
        cwd=terminal.directory,
        input="A cat.\nA dog.\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )

    assert (result.returncode, result.stdout) == (0, "images/manifest.csv\n"), result.stderr
    names = sorted(path.name for path in terminal.directory.glob("images/*.png"))
    assert names == ["line-00001-a-cat-0.png", "line-00002-a-dog-0.png"]


def test_every_option_reaches_every_line_that_does_not_say_itself(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", "prompt,seed\nA cat.,3\nA dog.,\n")
    options = (
        "--size",
        "128x128",
        "--seed",
        "5",
        "--steps",
        "3",
        "--guidance-scale",
        "2.5",
        "--negative-prompt",
        "fog",
    )

    result = terminal.run(*prompts.command(*options, "--model", "fake", "--upscale", "2", "--completion-window", "2h"))

    assert result.returncode == 0, result.stderr
    (batch,) = prompts.batches(safelight)
    assert batch["completion_window"] == "2h"
    jobs = safelight.client.get("/v1/jobs", params={"batch_id": batch["id"], "order": "asc"}).json()["data"]
    assert [job["seed"] for job in jobs] == [3, 5]
    for job in jobs:
        fields = ("size", "steps", "guidance_scale", "negative_prompt", "model")
        assert [job[name] for name in fields] == ["128x128", 3, 2.5, "fog", "fake"]
        assert job["images"][0]["width"] == 256


def test_a_dry_run_says_what_it_would_be_and_submits_nothing(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", CSV)
    query = {"purpose": "batch"}
    files = safelight.client.get("/v1/files", params=query).json()

    result = terminal.run(*prompts.command("--dry-run", *SMALL, "--model", "slow"))

    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:2] == ["3 lines, 4 images.", "Models: slow (3)."]
    # 4 s an image in the catalogue, or what this machine took for the jobs of other tests
    assert re.fullmatch(r"Device time: about [\d.]+ (s|min)\.", lines[2])
    assert not prompts.batches(safelight)
    assert safelight.client.get("/v1/files", params=query).json() == files


def test_a_dry_run_names_every_wrong_line(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", "prompt,n\nA cat.,1\nA dog.,many\nA cow.,2\n,1\n")

    result = terminal.run("batch", str(prompts.file), "--dry-run", *SMALL)

    assert result.returncode == 1
    assert "2 errors:" in result.stdout.splitlines()
    assert [line.partition(":")[0] for line in result.stdout.splitlines() if line.startswith("line ")] == [
        "line 3",
        "line 5",
    ]


def test_wrong_lines_are_named_no_job_is_made_and_the_corrected_file_goes_on(
    terminal: Terminal, safelight: Stack
) -> None:
    prompts = Prompts(terminal, "a.csv", "prompt,size\nA cat.,64x64\nA dog.,1x1\n")

    result = terminal.run(*prompts.command())

    assert (result.returncode, result.stdout) == (1, "")
    assert "line 3: size '1x1' is not available for fake" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("correct these lines and run the command again.")
    assert prompts.images() == []
    prompts.file.write_text("prompt,size\nA cat.,64x64\nA dog.,64x64\n")
    assert terminal.run(*prompts.command()).returncode == 0
    assert prompts.images() == ["line-00002-a-cat-0.png", "line-00003-a-dog-0.png"]


def test_a_line_that_fails_is_reported_and_the_others_complete(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", "custom_id,prompt\ncat,A cat.\nbad,[refuse]\ndog,A dog.\n")

    result = terminal.run(*prompts.command(*SMALL))

    assert (result.returncode, result.stdout) == (3, f"{prompts.out}/manifest.csv\n"), result.stderr
    assert prompts.images() == ["cat-0.png", "dog-0.png"]
    lines = result.stderr.splitlines()
    assert [line.split(maxsplit=2) for line in lines[-3:-1]] == [
        ["LINE", "CODE", "MESSAGE"],
        ["bad", "generation_failed", "The prompt asked to be refused."],
    ]
    assert lines[-1].endswith(f"`safelight batch --out {prompts.out} --retry-failed` retries these lines.")
    (error,) = (json.loads(line) for line in (prompts.out / "errors.jsonl").read_text().splitlines())
    assert error["custom_id"] == "bad"
    codes = {row["custom_id"]: row["error_code"] for row in prompts.manifest()}
    assert codes == {"cat": "", "bad": "generation_failed", "dog": ""}


def test_a_parameter_that_is_refused_leaves_the_directory_free(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.txt", TXT)

    assert "mona-lisa" in terminal.run(*prompts.command("--model", "mona-lisa")).stderr

    assert terminal.run(*prompts.command(*SMALL)).returncode == 0


def test_a_directory_takes_one_batch_unless_an_option_says_to_begin_anew(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(2))
    assert terminal.run(*prompts.command()).returncode == 0
    (batch,) = prompts.batches(safelight)
    images = {name: (prompts.out / name).read_bytes() for name in prompts.images()}
    prompts.file.write_text(csv_lines(2).replace("cat", "dog"))

    message = terminal.refusal(*prompts.command())

    assert message == (
        f"{prompts.out} belongs to {batch['id']} with other prompts or options: choose another directory, "
        "or start a new batch in it with --new."
    )
    assert terminal.run(*prompts.command("--new")).returncode == 0
    assert prompts.images() == sorted([*images, "line-00002-dog-0-0.png", "line-00003-dog-1-0.png"])
    assert [row["file"] for row in prompts.manifest()] == ["line-00002-dog-0-0.png", "line-00003-dog-1-0.png"]
    assert all((prompts.out / name).read_bytes() == before for name, before in images.items())


def test_a_directory_of_somebody_elses_files_is_left_alone(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(1))
    prompts.out.mkdir()
    (prompts.out / "line-2-0.png").write_text("dear to me")

    message = terminal.refusal(*prompts.command())

    assert message == (
        f"{prompts.out} is not empty and belongs to no batch: choose another directory, "
        "or overwrite its files with --new."
    )
    assert (prompts.out / "line-2-0.png").read_text() == "dear to me"
    assert not prompts.batches(safelight)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Name a FILE of prompts: safelight batch prompts.csv --out images/"),
        (("a.txt",), "Say where the images go: --out DIR (or --detach, to submit only)."),
        (("a.txt", "--out", "x", "--batch", "batch_1"), "--batch is there already: it takes no FILE."),
        (("--batch", "batch_1"), "Say where the images go: --out DIR."),
        (("--batch", "../jobs", "--out", "x"), "'../jobs' is not the id of a batch"),
        (("--batch", "batch_1", "--out", "x", "--seed", "1"), "seed: a batch that is there already cannot be changed"),
        (("nowhere.csv", "--out", "x"), "nowhere.csv cannot be read (No such file or directory)."),
        (("catalog.toml", "--out", "x"), "The format of catalog.toml is unknown: set it with"),
        (("empty.txt", "--out", "x"), "There are no prompts in empty.txt."),
        (("a.txt", "--out", "a.txt"), "a.txt is not a writable directory (File exists)."),
        (("--out", "x"), "x belongs to no batch: add a FILE of prompts, or a batch with --batch."),
        (("a.txt", "--out", "x", "--metadata", "cats"), "--metadata cats: give a key and a value"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(
    terminal: Terminal, options: tuple[str, ...], sentence: str
) -> None:
    (terminal.directory / "a.txt").write_text(TXT)
    (terminal.directory / "empty.txt").write_text("\n")

    assert sentence.casefold() in terminal.refusal("batch", *options).casefold()


def test_a_terminal_gets_a_bar_and_stdout_the_manifest_alone(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(3))
    screen, stderr = pty.openpty()
    environment = {**os.environ, **terminal.settings, "TERM": "xterm-256color", "COLUMNS": "120"}
    arguments = command(*prompts.command())
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        os.close(stderr)
        screen_text = read_screen(screen)
        stdout, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, stdout) == (0, f"{prompts.out}/manifest.csv\n"), screen_text
    for words in ("batch_", "━", "3/3", "completed", f"Images in {prompts.out}: 3."):
        assert words in screen_text


# Spreadsheets

EXCEL: list[list[Any]] = [["Prompt", "N", "Notes"], ["Ein Hündchen.", 2.0, "für Anna"], [], ["猫", None, None]]


def test_a_spreadsheet_becomes_a_directory_with_a_page_that_shows_it(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "Mappe 1.xlsx", "")
    prompts.file.write_bytes(xlsx(EXCEL, title="Tabelle1"))
    dry = terminal.run("batch", str(prompts.file), "--dry-run", *SMALL)

    result = terminal.run(*prompts.command("--keep-columns", *SMALL))

    assert dry.returncode == 1
    assert "Input: xlsx, sheet Tabelle1, 1 empty row ignored." in dry.stdout
    assert "line 1: The column 'Notes' is no parameter" in dry.stdout
    assert "--keep-columns" in dry.stdout
    assert result.returncode == 0, result.stderr
    assert "Input: xlsx, sheet Tabelle1, 1 empty row ignored, metadata: Notes." in result.stderr
    assert prompts.images() == [
        "line-00002-ein-hündchen-0.png",
        "line-00002-ein-hündchen-1.png",
        "line-00004-猫-0.png",
    ]
    (batch,) = prompts.batches(safelight)
    jobs = safelight.client.get("/v1/jobs", params={"batch_id": batch["id"], "order": "asc"}).json()["data"]
    assert [job["metadata"] for job in jobs] == [{"Notes": "für Anna"}, {}]
    assert (prompts.out / "manifest.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    page = (prompts.out / "index.html").read_text()
    assert re.findall(r'<img src="([^"]+)"', page) == [quote(name) for name in prompts.images()]
    assert "Ein Hündchen." in page


def test_a_guess_of_the_encoding_is_told_with_an_example(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", "")
    prompts.file.write_bytes("Prompt;N\r\nEin Hündchen.;1\r\n".encode("cp1252"))

    result = terminal.run("batch", str(prompts.file), "--dry-run", *SMALL)

    assert result.returncode == 0, result.stdout
    assert "Input: csv, separator ;, encoding cp1252." in result.stdout
    assert "The encoding cp1252 is a guess" in result.stdout
    assert "Ein Hündchen.;1" in result.stdout


# Names


@pytest.mark.parametrize("custom_id", ["cat", "line-12", "红色", "a.b", "Katze_3", "ü" * 50])
def test_a_harmless_id_is_a_name_as_it_is(custom_id: str) -> None:
    assert safe_name(custom_id) == custom_id


@pytest.mark.parametrize(
    "custom_id",
    ["../../etc/passwd", "", ".", ".hidden", "-o", "a b", "a\\b", "a:b", "a\0b", "a\nb", "ü" * 101, "line-00012"],
)
def test_an_id_that_could_do_harm_is_a_name_with_a_hash(custom_id: str, tmp_path: Path) -> None:
    name = safe_name(custom_id)

    assert "~" in name
    (tmp_path / f"{name}-0.png").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}-0.png"]


def test_ids_that_differ_have_names_that_differ() -> None:
    ids = ["a/b", "a\\b", "a_b", "a b", safe_name("a/b"), "e\u0301", "é", "x" * 100, "x" * 101, "x" * 102]

    assert len({safe_name(custom_id) for custom_id in ids}) == len(ids)


def test_where_case_does_not_count_names_differ_by_more() -> None:
    names = [safe_name(custom_id, case_sensitive=False) for custom_id in ("cat", "Cat", "CAT")]

    assert names[0] == "cat"
    assert len({name.casefold() for name in names}) == 3
