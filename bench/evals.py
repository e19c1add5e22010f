"""Eval runs: what the harness itself costs, and how well it keeps a slow target busy.

On a private PostgreSQL that syncs to disk, with every score stored. promptfoo is measured in the
same run where npm can install it (or BENCH_PROMPTFOO names a folder with it): the same cases, an
instant provider, results written to a file.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from bench._server import Private, private

PROJECT = Path(__file__).resolve().parent.parent
INSTANT_CASES = 500
SLOW_CASES = int(os.environ.get("BENCH_EVALS_CASES", "10000"))
SLOW_SECONDS, AT_ONCE = 0.05, 8
ROUNDS = 3
INSTALL_SECONDS = 600


def measure() -> Iterator[str]:
    """Run an instant target, promptfoo beside it, and a slow one over HTTP."""
    with private(EVAL_TARGETS="bench=bench.evals.instant") as made:
        yield from _measure(made)


def _measure(made: Private) -> Iterator[str]:
    os.environ.update(made.environment)
    django.setup()
    ours = sorted(_instant(at) for at in range(ROUNDS))[ROUNDS // 2]
    yield f"instant target: {ours:,.0f} cases/s, {INSTANT_CASES} cases, every score stored"
    theirs = _promptfoo(made.data_dir)
    if theirs is None:
        yield "promptfoo: not installed here (npm), so not compared"
    else:
        yield (
            f"promptfoo, starting included: {theirs:,.0f} cases/s with the same cases;"
            f" {ours / theirs:.1f} times as fast here"
        )
    yield from _slow()


def instant(components: object) -> Any:
    """Build a target that answers at once."""

    def run(case: dict[str, Any]) -> dict[str, Any]:
        return {"answer": "yes", "escalated": False, "violations": [], "cost": "0.001"}

    return run


def _world(slug: str, count: int) -> tuple[Any, Any]:
    """A workflow with one release and a golden suite of so many cases."""
    from governance.audit import Actor
    from governance.evals.services import freeze_suite
    from governance.people.services import create_user
    from governance.releases.services import register_release
    from governance.workflows.models import Workflow
    from governance.workflows.services import create_workflow

    bench = Actor.system("bench")
    workflow = Workflow.objects.filter(slug=slug).first()
    if workflow is None:
        password = "not for people 123"  # noqa: S105
        owner = create_user(f"owner-{slug}", actor=bench, password=password)
        workflow = create_workflow(slug, slug, owner=owner, actor=bench)
        cases = [
            {"key": f"c{n:06}", "input": {"text": f"case {n}"}, "expected": {"answer": "yes"}}
            for n in range(count)
        ]
        freeze_suite(workflow, "golden", cases, actor=bench)
        slots = {"model": {"provider": "own", "id": "m"}}
        register_release(workflow, slots, title="Bench", actor=bench)
    return workflow, bench


def _run(workflow: Any, bench: Any, slot: str) -> tuple[Any, float]:
    """Do one run in this process, as a worker would; returns it and its seconds."""
    from governance.evals.services import evidence_suites, request_run
    from governance.jobs import services as jobs
    from governance.jobs.models import Job

    suite = evidence_suites(workflow)["golden"]
    run = request_run(
        workflow.releases.get(), suite, actor=bench, purpose="request",
        slot=f"{slot} {workflow.slug}",
    )  # fmt: skip
    started = time.perf_counter()
    while True:
        waiting = Job.objects.filter(kind="evals.run", payload__run=run.pk, state="waiting").first()
        if waiting is None:
            break
        jobs.run(waiting.pk)
    seconds = time.perf_counter() - started
    run.refresh_from_db()
    if run.state != "done" or run.scores.count() != suite.case_count:
        raise RuntimeError(f"the run ended as {run.state}: {run.error}")
    return run, seconds


def _instant(at: int) -> float:
    workflow, bench = _world("bench", INSTANT_CASES)
    _, seconds = _run(workflow, bench, f"instant {at}")
    return INSTANT_CASES / seconds


SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
SAID = b'{"answer": "yes", "escalated": false, "cost": 0.001}'
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(float(sys.argv[1]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(SAID)))
        self.end_headers()
        self.wfile.write(SAID)
    def log_message(self, *args):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def _slow() -> Iterator[str]:
    """Many cases, eight at a time, against a server that takes 50 ms for each."""
    from django.conf import settings

    from governance.evals.services import set_target
    from governance.people.services import create_user

    server = subprocess.Popen(  # noqa: S603 - our own server
        [sys.executable, "-c", SERVER, str(SLOW_SECONDS)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = (server.stdout or sys.stdin).readline().strip()
        settings.OUTBOUND_ALLOWED = [f"http://127.0.0.1:{port}"]
        workflow, bench = _world("slow", SLOW_CASES)
        password = "not for people 123"  # noqa: S105
        analyst = create_user("analyst", actor=bench, role="analyst", password=password)
        content = {
            "kind": "http", "url": f"http://127.0.0.1:{port}/", "concurrency": AT_ONCE,
            "body": {"case": "{{input}}"},
            "paths": {"answer": "answer", "escalated": "escalated", "cost": "cost"},
        }  # fmt: skip
        set_target(workflow, content, actor=analyst, reason="The bench.")
        before = _memory()
        run, seconds = _run(workflow, bench, "slow")
        alone = _alone(int(port))  # what one bare request takes, starting a connection included
        ideal, real = SLOW_CASES * SLOW_SECONDS / AT_ONCE, SLOW_CASES * alone / AT_ONCE
        yield (
            f"{SLOW_CASES:,} cases, {AT_ONCE} in flight, {1000 * SLOW_SECONDS:.0f} ms each:"
            f" {seconds:.1f} s, {ideal / seconds:.0%} of the ideal rate ({real / seconds:.0%} of"
            f" that of the {1000 * alone:.1f} ms which a bare request takes), {run.errors} errors"
        )
        yield f"memory: {before:.0f} MB before, {_memory():.0f} MB after"
    finally:
        server.kill()
        server.wait()


def _alone(port: int) -> float:
    """The median seconds of a bare request, one after the other."""
    times = []
    for _ in range(40):
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/", b"{}")
        connection.getresponse().read()
        connection.close()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _promptfoo(folder: Path) -> float | None:
    """Cases per second of promptfoo with an instant provider; None where npm has none of it."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    home = Path(os.environ.get("BENCH_PROMPTFOO") or folder / "promptfoo")
    if not (home / "node_modules" / "promptfoo").is_dir():
        home.mkdir(exist_ok=True)
        try:
            subprocess.run(  # noqa: S603 - what was found on the path
                [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "promptfoo"],
                cwd=home, check=True, capture_output=True, timeout=INSTALL_SECONDS,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError):
            return None
    (home / "instant.js").write_text(
        "module.exports = class { id() { return 'instant'; }"
        " async callApi() { return { output: 'yes' }; } };"
    )
    tests = [
        {"vars": {"text": f"case {n}"}, "assert": [{"type": "equals", "value": "yes"}]}
        for n in range(INSTANT_CASES)
    ]
    config = {"prompts": ["{{text}}"], "providers": ["file://instant.js"], "tests": tests}
    (home / "promptfooconfig.json").write_text(json.dumps(config))
    command = [
        str(home / "node_modules" / ".bin" / "promptfoo"), "eval", "-c", "promptfooconfig.json",
        "--no-cache", "--no-table", "--no-progress-bar", "-o", "results.json",
    ]  # fmt: skip
    quiet = {
        **os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_CONFIG_DIR": str(home / "config"),
    }  # fmt: skip
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        try:
            subprocess.run(  # noqa: S603 - what was just installed
                command, cwd=home, check=True, capture_output=True, env=quiet, timeout=300
            )
        except (subprocess.SubprocessError, OSError):
            return None
        times.append(time.perf_counter() - started)
    return INSTANT_CASES / sorted(times)[ROUNDS // 2]


def _memory() -> float:
    """The size of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
