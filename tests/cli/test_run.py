"""The command line as a person meets it: real processes, their output, their complaints and their exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Callable

import pytest
import yaml

from support.jobs import action, chunks, echo, environment, run_child, step, stubborn, template

COMMAND = [sys.executable, "-m", "openjd.sessions"]
FAIL = action("sh", "-c", "echo openjd_fail: no luck; exit 3")
SECRET = "openjd_redacted_env: S=hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; working directories are made in ``temporary`` in it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path


def write(document: object, name: str = "job.yaml") -> None:
    Path(name).write_text(yaml.safe_dump(document))


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, **options)


def run_job(document: object, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    write(document)
    return run("run", "job.yaml", *arguments, **options)


def messages(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The log without its times."""
    log = done.stdout.split("\n--- Results of local session ---\n")[0]
    return [line.partition("\t")[2] for line in log.splitlines()]


def results(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stdout.split("\n--- Results of local session ---\n")[1]
    return re.sub(r"Duration: [0-9.e-]+ seconds", "Duration: _ seconds", text)


def working_directories() -> list[Path]:
    return [path for path in Path("temporary/OpenJD").glob("*") if path.is_dir()]


def test_a_whole_job() -> None:
    done = run_job(template(step("a"), step("b"), environments=[environment("E")]))
    assert (done.returncode, done.stderr) == (0, "")
    said = messages(done)
    assert [line for line in said if line in ("+E", "a", "b", "/E")] == ["+E", "a", "b", "/E"]
    assert len([line for line in said if re.search(r"exited with code: 0 \(unsigned\)", line)]) == 4
    assert said[1] == "Open Job Description CLI: Running job 'Test'"
    assert said[-2] == "Open Job Description CLI: All actions completed successfully!"
    assert results(done) == "\nSession ended successfully\n\nJob: Test\nDuration: _ seconds\nTasks run: 2\n\n"
    assert working_directories() == []


def test_everything_that_can_be_given() -> None:
    write({"S": "from a file"}, "values.yaml")
    external = environment("External", action("sh", "-c", "echo openjd_env: X=1"))
    write({"specificationVersion": "environment-2023-09", "environment": external}, "env.yaml")
    rule = {"source_path_format": "POSIX", "source_path": "/old", "destination_path": "/new"}
    write({"version": "pathmapping-1.0", "path_mapping_rules": [rule]}, "rules.yaml")
    say = action("sh", "-c", "echo {{Param.S}}, {{Param.P}}, {{Task.Param.F}}, $X")
    document = template(
        step("a", ranges={"F": ("INT", "1-3")}),
        step("b", say, ranges={"F": ("INT", "1-3")}, after=["a"]),
        parameterDefinitions=[{"name": "S", "type": "STRING"}, {"name": "P", "type": "PATH"}],
    )
    given = "-p file://values.yaml -p P=/old/x --env env.yaml --path-mapping-rules file://rules.yaml"
    done = run_job(document, *given.split(), "--step", "b", "-tp", "F=2")
    assert done.returncode == 0, done.stderr
    assert "from a file, /new/x, 2, 1" in messages(done)
    assert "/External" in messages(done)
    assert "\nStep: b\n" in results(done)


@pytest.mark.parametrize(
    ("document", "status", "complaint"),
    [
        (
            template(step("a", FAIL), step("b"), environments=[environment("E")]),
            1,
            "Run step 'a' ended FAILED (exit code 3): no luck",
        ),
        (
            template(step("b"), environments=[environment("E", FAIL)]),
            1,
            "Enter environment 'E' ended FAILED (exit code 3): no luck",
        ),
        (
            template(step("a", run_child("wait", timeout=1)), step("b"), environments=[environment("E")]),
            4,
            "Run step 'a' ended TIMEOUT (exit code -9)",
        ),
    ],
)
def test_failures(document: object, status: int, complaint: str) -> None:
    done = run_job(document)
    assert (done.returncode, done.stderr) == (status, f"ERROR: {complaint}\n")
    assert "/E" in messages(done)
    assert "b" not in messages(done)
    assert results(done).startswith("\nSession ended with errors; see Task logs for details\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "no.yaml"], "no.yaml: No such file or directory."),
        (["check", "no.yaml"], "no.yaml: No such file or directory."),
        (["run", "job.yaml", "--step", "x"], "job.yaml: The job has no step 'x'. Its steps are: 'a'."),
        (["run", "job.yaml", "--extensions", "FOO"], "--extensions: this version does not run FOO, only "
         "REDACTED_ENV_VARS, FEATURE_BUNDLE_1, TASK_CHUNKING, EXPR, WRAP_ACTIONS."),
    ],
)  # fmt: skip
def test_missing_and_invalid_input(arguments: list[str], complaint: str) -> None:
    write(template(step("a")))
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"ERROR: {complaint}\n")


def test_complaint_as_a_document() -> None:
    done = run("run", "no.yaml", "--output", "json")
    assert (done.returncode, done.stderr) == (3, "ERROR: no.yaml: No such file or directory.\n")
    assert json.loads(done.stdout) == {"status": "error", "message": "no.yaml: No such file or directory."}


def test_check() -> None:
    write(template(step("a")))
    write({"specificationVersion": "environment-2023-09", "environment": environment("E")}, "env.yaml")
    for name in ("job.yaml", "env.yaml"):
        done = run("check", name)
        expected = f"Template at '{name}' passes validation checks.\n"
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    done = run("check", "job.yaml", "--output", "yaml")
    message = "Template at 'job.yaml' passes validation checks."
    assert yaml.safe_load(done.stdout) == {"status": "success", "message": message}


@pytest.mark.parametrize(("name", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_output_as_a_document(name: str, parse: Callable[[str], Any]) -> None:
    done = run_job(template(step("a")), "--output", name, "--step", "a")
    document = parse(done.stdout)
    assert list(document) == [
        *("status", "message", "job_name", "duration", "tasks_run", "chunks_run", "step_name", "logs")
    ]
    assert (document["status"], document["job_name"], document["tasks_run"]) == ("success", "Test", 1)
    assert "a" in [record["message"] for record in document["logs"]]


@pytest.mark.parametrize(
    ("timestamps", "pattern"),
    [
        ("relative", r"0:00:0\d\.\d{6}"),
        ("local", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d"),
        ("utc", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"),
    ],
)
def test_times(timestamps: str, pattern: str) -> None:
    done = run_job(template(step("a")), "--timestamp-format", timestamps)
    assert re.search(rf"^{pattern}\ta$", done.stdout, re.MULTILINE)


def test_verbose_shows_set_up_and_clean_up() -> None:
    set_up, clean_up = "Session Working Directory: ", "Deleting working directory: "
    for arguments, is_shown in (["--verbose"], True), ([], False):
        said = messages(run_job(template(step("a")), *arguments))
        assert any(line.startswith(set_up) for line in said) is is_shown
        assert any(line.startswith(clean_up) for line in said) is is_shown
        assert "a" in said


def test_preserve() -> None:
    done = run_job(template(step("a", action("touch", "made"))), "--preserve")
    (kept,) = working_directories()
    assert (kept / "made").exists()
    assert f"\nWorking directory preserved at: {kept.resolve()}\n" in results(done)


def test_secrets_are_not_shown() -> None:
    hide = environment("E", action("sh", "-c", f"echo {SECRET}"))
    done = run_job(
        template(step("a", action("sh", "-c", "echo $S")), environments=[hide], extensions=["REDACTED_ENV_VARS"])
    )
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    assert "********" in messages(done)


def test_every_character_can_be_shown() -> None:
    done = run_job(
        template(step("a", run_child("text", "Größe \U0001f600"))), env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"Gr\xf6\xdfe \U0001f600" in messages(done)


# Expressions and chunks


def test_chunks_and_step_level_names() -> None:
    """CHK-4, CHK-5, SYM-12; a ``let`` of the step is seen by its environments and its task."""
    texts = ["{{Task.Param.F}}", "{{len(Task.Param.F)}}", "{{name}}", "{{Step.Name}} of {{Job.Name}}"]
    inner = environment("Inner", echo("+", "{{name}}"))
    made = step("a", echo(*texts), environments=[inner], ranges={"F": ("CHUNK[INT]", "1-3", chunks(2))})
    document = template(
        {**made, "let": ["name = 'x' + Param.P[0].upper()"]},
        parameterDefinitions=[{"name": "P", "type": "LIST[STRING]"}],
        environments=[environment("Outer", echo("+", "{{Job.Name}}", "{{len(Param.P)}}"))],
        extensions=["EXPR", "TASK_CHUNKING"],
    )
    done = run_job(document, "-p", 'P=["b", "c"]')
    assert (done.returncode, done.stderr) == (0, "")
    shown = {"+ Test 2", "+ xB", "1-2 2 xB a of Test", "3-3 1 xB a of Test"}
    assert shown <= set(messages(done))


def test_without_expressions_their_engine_is_not_loaded() -> None:
    """API-7."""
    write(template(step("a", ranges={"F": ("CHUNK[INT]", "1-3", chunks(2))}), extensions=["TASK_CHUNKING"]))
    code = "import sys; from openjd.sessions.cli import main; main(['run', 'job.yaml'])"
    code += "\nprint('openjd.expr' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"


# Interruptions


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a job in the background."""
    started: list[subprocess.Popen[str]] = []

    def start_one(document: object, stdout: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        write(document)
        command = [*COMMAND, "run", "job.yaml"]
        started.append(subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def read_until(stream: IO[str] | None, ending: str) -> list[str]:
    assert stream is not None
    lines = []
    for line in stream:
        lines.append(line.rstrip("\n").partition("\t")[2])
        if lines[-1].endswith(ending):
            break
    return lines


ONCE = "\nCanceling the running action, then exiting the environments. Once more to terminate at once.\n"
ENDLESS = action("sh", "-c", "while echo line; do :; done")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_action_and_environments_are_exited(
    number: signal.Signals, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(template(step("a", run_child("wait")), environments=[environment("E")]))
    read_until(process.stdout, "ready")
    process.send_signal(number)
    said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (130, ONCE)
    assert "\t/E\n" in said
    assert "\nSession was interrupted\n" in said
    assert working_directories() == []


def test_a_second_signal_terminates_at_once(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(template(step("a", stubborn()), environments=[environment("E")]))
    read_until(process.stdout, "ready")
    process.send_signal(signal.SIGINT)
    read_until(process.stdout, "notified")
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (130, f"{ONCE}\nTerminating.\n")
    assert "/E" not in said
    assert working_directories() == []


def test_a_reader_that_goes_away_ends_the_job_like_an_interruption(start: Callable[..., subprocess.Popen[str]]) -> None:
    leave = action("touch", str(Path("exited").resolve()))
    process = start(template(step("a", ENDLESS), environments=[environment("E", leave=leave)]))
    assert process.stdout is not None
    read_until(process.stdout, "line")
    process.stdout.close()
    assert process.wait(timeout=60) == 130
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert Path("exited").exists()


def test_readers_of_log_and_complaints_that_go_away_together() -> None:
    write(template(step("a", FAIL)))
    shell = f"{sys.executable} -m openjd.sessions run job.yaml 2>&1 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_log_that_cannot_be_written(start: Callable[..., subprocess.Popen[str]]) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(template(step("a", ENDLESS)), stdout=full)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (130, "ERROR: standard output: No space left on device.\n")
