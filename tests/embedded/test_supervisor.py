"""What `make up` does when one of its processes ends by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from governance.embedded.processes import Processes, StartError
from governance.embedded.supervisor import DEMO, Plan, Supervisor


def shell(processes: Processes, name: str, script: str) -> Any:
    return processes.start(name, ["sh", "-c", script])


def test_a_demo_that_dies_is_started_again_and_takes_nothing_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(Plan.from_environment(tmp_path, tmp_path, {}))
    with Processes(tmp_path) as processes:
        web = shell(processes, "web", "echo 'Listening at 8000'; exec sleep 600")
        # The second demo is what ends this test: only something that is needed stops everything.
        second = f"kill -9 {web.process.pid}; exec sleep 600"
        monkeypatch.setattr(
            supervisor, "_start_demo", lambda processes: shell(processes, DEMO, second)
        )
        shell(processes, DEMO, "echo 'ValueError: no mail today' >&2; echo bye; exit 3")
        with pytest.raises(StartError) as ended:
            supervisor._wait(processes)
    said = capsys.readouterr().out
    assert "demo application stopped by itself (exit code 3): ValueError: no mail today" in said
    assert "started again in 1 s" in said
    assert "web stopped by itself (killed by SIGKILL) (see " in str(ended.value)
    assert "Listening" not in str(ended.value)


def test_who_was_killed_from_outside_is_not_quoted(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        killed = shell(processes, "worker", "echo 'Task done'; kill -9 $$")
        processes.finish(killed)
        assert killed.reason() == ""
        failed = processes.start("beat", [sys.executable, "-c", "raise SystemExit('no disk')"])
        processes.finish(failed)
        assert failed.reason() == "no disk"
