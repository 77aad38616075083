"""What a run stands on: two processors, the folder of environments, the files, an engine's own interpreter."""

import os
import subprocess
import sys

FOLDER = os.environ.get("PEERS_FOLDER", "")
HERE = os.path.dirname(os.path.abspath(__file__))


def two_processors():
    """Everything that is started from here runs on the same two, whatever number of threads it would take."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def number(name, default):
    return int(os.environ.get(name, default))


def python(engine, script, *arguments, **options):
    """Runs a script of ours in an engine's environment."""
    interpreter = os.path.join(FOLDER, engine, "bin", "python")
    environment = os.environ | {"POLARS_MAX_THREADS": "2", "RAYON_NUM_THREADS": "2", "RUST_BACKTRACE": "0"}
    command = [interpreter, os.path.join(HERE, script), *arguments]
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False, **options)
