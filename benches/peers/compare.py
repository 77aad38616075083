"""Asks every engine the workload's questions, one engine after the other, and prints the tables.

In: names of engines whose environments stand. Out: tables on standard output; raw results in the folder `results`.
"""

import datetime
import json
import os
import subprocess
import sys

import data
import machine
import privacy
import questions
import report
from plain_duckdb import connect

# An engine that takes longer is stopped; what it answered until then counts.
ENGINE_SECONDS = machine.number("PEERS_ENGINE_SECONDS", 1800)


def ask(engine, files):
    """The lines that the engine wrote down."""
    results = os.path.join(machine.FOLDER, "results", engine + ".json")
    os.makedirs(os.path.dirname(results), exist_ok=True)
    if os.path.exists(results):
        os.remove(results)
    print(f"peers: asking {engine}", file=sys.stderr, flush=True)
    try:
        ended = machine.python(engine, "engine.py", engine, files, results, timeout=ENGINE_SECONDS).returncode
        if ended != 0:
            print(f"peers: {engine} FAILED (exit {ended})", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"peers: {engine} was stopped after {ENGINE_SECONDS} s", file=sys.stderr)
    if not os.path.exists(results):
        return []
    with open(results, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(engines):
    machine.two_processors()
    size = machine.number("PEERS_PERSONS", 100_000), machine.number("PEERS_EVENTS", 50_000_000)
    files = data.ensure(machine.FOLDER, *size)
    connection = connect(files)
    truth = questions.exact(lambda sql: connection.execute(sql).fetchall())
    connection.close()
    results = {engine: ask(engine, files) for engine in engines}
    print(f"{datetime.date.today()}: {size[0]:,} persons, {size[0] * data.WEEKS:,} person-weeks, {size[1]:,} events; "
          f"two threads, Parquet, warm; {privacy.ANSWERS} answer(s) together ({privacy.EPSILON:g}, {privacy.DELTA:g})-DP\n")
    if skipped := os.environ.get("PEERS_SKIPPED"):
        print(f"SKIPPED, as they could not be installed: {skipped}\n")
    report.show(results, truth)


if __name__ == "__main__":
    main(sys.argv[1:])
