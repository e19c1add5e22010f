"""I5: an acknowledged change survives kill -9; what was not acknowledged happened once or not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from governance.common.failpoints import NAMES, reach
from governance.embedded.servers import read
from tests.faults.arena import Arena, EveryTarget
from tests.faults.kills import ACTS, Tally, trial
from tests.faults.stage import PROJECT, Stage

KILLS_PER_PLACE = 4


@pytest.mark.django_db(transaction=True)
def test_a_web_process_killed_in_the_middle_of_a_decision_loses_and_repeats_nothing(
    settings: Any, tmp_path: Path, full: bool, figure: Callable[..., None]
) -> None:
    settings.EVAL_TARGETS = EveryTarget()
    settings.SECRET_KEY = project.SECRET_KEY
    servers = read(project.DATA_DIR)
    assert servers is not None
    parts = conninfo_to_dict(servers.database_url)
    url = make_conninfo(**{**parts, "dbname": connection.settings_dict["NAME"]})
    tally, arena = Tally(), Arena()
    with Stage(tmp_path, url, servers.redis_url) as stage:
        for failpoint in ("after the pointer", "after commit"):
            trial(stage, arena, tally, ACTS[tally.trials % 2], "web", failpoint)
    assert (tally.lost, tally.duplicated, tally.chain_breaks, tally.broken) == (0, 0, 0, [])
    assert tally.trials == 2
    if not full:
        figure("I5", **tally.as_json())


def test_a_failpoint_that_is_not_named_does_nothing() -> None:
    for name in NAMES:
        reach(name)


def test_web_postgresql_and_valkey_are_killed_at_every_place(
    full: bool, figure: Callable[..., None], tmp_path: Path
) -> None:
    """On durable servers of its own; part of `make faults` only."""
    if not full:
        return
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", str(tmp_path), str(KILLS_PER_PLACE)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    figure("I5", **found)
    assert (found["lost"], found["duplicated"], found["chain_breaks"]) == (0, 0, 0)
    assert found["broken"] == []
