"""How Paravent grows with the data, what memory it takes, and what happens when memory is short or many ask at once.

In: names of engines whose environments stand, Paravent's and DataFusion's. Out: tables on standard output.
"""

import os
import sys
import threading
import time
from contextlib import contextmanager
from statistics import median, quantiles

import psycopg

import data
import machine
from compare import ask
from engine import forget_peak, peak_bytes
from questions import QUESTIONS
from report import ENGINE_BELOW, OURS, Engine
from server import Server

# The events do not grow with the persons. Q3L0: Q3 where a person counts in at most 26 of 52 weeks.
GROWING = [question for question in QUESTIONS if question != "Q4"] + ["Q3L0"]
SETTINGS = {"privacy.epsilon": 0.01, "privacy.delta": 1e-12}
LIGHT = "SELECT function, count(*) FROM people WHERE country <> 'X{n}' GROUP BY function"
HEAVY = [question.sql for name, question in QUESTIONS.items() if name in ("Q1", "Q2j", "Q6")]
# The smaller one shows how a question ends that cannot be answered.
LIMITS = os.environ.get("PEERS_LIMITS", "512MB 4MB").split()
HEAVY_ANALYSTS, MANY_SECONDS = 16, machine.number("PEERS_MANY_SECONDS", 20)


def growth(engines, sizes):
    """Seconds and peaks at each size; how much faster they grow than the rows; memory beside DataFusion's at the largest."""
    os.environ["PEERS_QUESTIONS"] = " ".join(GROWING)
    found = {persons: {name: Engine(name, ask(name, data.ensure(machine.FOLDER, persons, 1))) for name in engines}
             for persons in sizes}
    more = max(sizes) / min(sizes)
    rows = [f"{persons * data.WEEKS / 1e6:.1f} M" for persons in sizes]
    print(f"{'seconds, and MiB at most':38} " + " ".join(f"{size:>15}" for size in rows)
          + f"   time : rows ({more:.0f})   time, memory : plain")
    for question in GROWING:
        for name in engines:
            at = [found[persons][name] for persons in sizes]
            seconds = [engine.seconds(question) for engine in at]
            cells = [f"{second:8.3f} {engine.peak(question) / 2**20:6.0f}" if second else f"{'–':>15}"
                     for second, engine in zip(seconds, at)]
            times = f"{seconds[-1] / seconds[0] / more:.2f}" if seconds[0] and seconds[-1] else "–"
            beside = beside_plain(question, name, found[sizes[-1]])
            print(f"{question:4} {at[-1].version:33} {' '.join(cells)}   {times:>15}   {beside}")
    print("before any question, MiB: " + ", ".join(
        f"{engine.version} {engine.idle / 2**20:.0f}" for engine in found[sizes[-1]].values()) + "\n")


def beside_plain(question, name, engines):
    """Seconds and peak as multiples of DataFusion's."""
    ours, plain = engines[name], engines.get(ENGINE_BELOW)
    if name == ENGINE_BELOW or not plain or not (ours.seconds(question) and plain.seconds(question)):
        return ""
    return f"{ours.seconds(question) / plain.seconds(question):.2f}, {ours.peak(question) / plain.peak(question):.2f}"


class Light:
    """One analyst with a light question, asked again and again, until the block ends."""

    def __init__(self, server):
        self.analyst = server.login("analyst_1")
        self.seconds, self.failed = [], []
        self.asked = 0

    def ask(self):
        self.asked += 1
        start = time.perf_counter()
        try:
            self.analyst.execute(LIGHT.format(n=self.asked)).fetchall()
            self.seconds.append(time.perf_counter() - start)
        except psycopg.Error as error:
            self.failed.append(error.sqlstate)

    @contextmanager
    def asking(self):
        self.seconds, self.failed = [], []
        done = threading.Event()

        def go_on():
            while not done.is_set():
                self.ask()
                time.sleep(0.01)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield self
        finally:
            done.set()
            thread.join()

    def __str__(self):
        if len(self.seconds) < 2:
            return f"{len(self.seconds)} answers, {len(self.failed)} failed"
        most = quantiles(self.seconds, n=20, method="inclusive")[-1]
        return (f"{len(self.seconds)} answers, {len(self.failed)} failed {sorted(set(self.failed)) or ''}, "
                f"median {1000 * median(self.seconds):.0f} ms, 95 % {1000 * most:.0f} ms")


def little_memory(persons, limit):
    """Every question once, under the limit, while the light analyst goes on; and the most that the process held."""
    server = Server(data.ensure(machine.FOLDER, persons, 1), SETTINGS)
    with server.running("--memory-limit", limit):
        light, heavy = Light(server), server.login("analyst_1")
        print(f"--memory-limit {limit}, {persons * data.WEEKS / 1e6:.1f} M person-weeks")
        with light.asking():
            asked = {name: QUESTIONS[name].sql for name in GROWING if name in QUESTIONS}
            asked["Q3L0"] = asked["Q3"].replace("FROM pwf", "FROM pwf26")
            asked["Q3"] = asked["Q3"].replace("FROM pwf", "FROM pwf52")
            for name, sql in asked.items():
                forget_peak(server.process.pid)
                start = time.perf_counter()
                try:
                    heavy.execute(sql.format(n=0)).fetchall()
                    outcome = "answered"
                except psycopg.Error as error:
                    outcome = f"ended with {error.sqlstate}, hint: {error.diag.message_hint}"
                seconds, peak = time.perf_counter() - start, peak_bytes(server.process.pid) / 2**20
                print(f"{name:5} {outcome} after {seconds:.2f} s, {peak:.0f} MiB at most in the process")
        print(f"light questions meanwhile: {light}\n")


def many(persons):
    """Analysts with heavy questions, each a new one as soon as the last is answered, beside one with light ones."""
    server = Server(data.ensure(machine.FOLDER, persons, 1), SETTINGS, analysts=HEAVY_ANALYSTS + 1)
    with server.running():
        light = Light(server)
        print(f"{HEAVY_ANALYSTS} analysts with heavy questions, {persons * data.WEEKS / 1e6:.1f} M person-weeks")
        with light.asking():
            time.sleep(MANY_SECONDS / 4)
        print(f"light alone:        {light}")
        alone = light.seconds
        ended, answered, failed = time.monotonic() + MANY_SECONDS, [], []

        def heavy(number):
            analyst, asked = server.login(f"analyst_{number}"), 0
            while time.monotonic() < ended:
                asked += 1
                try:
                    analyst.execute(HEAVY[asked % len(HEAVY)].format(n=f"{number}_{asked}")).fetchall()
                    answered.append(number)
                except psycopg.Error as error:
                    failed.append(error.sqlstate)

        threads = [threading.Thread(target=heavy, args=[number]) for number in range(2, HEAVY_ANALYSTS + 2)]
        with light.asking():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        print(f"light beside heavy: {light}")
        if len(alone) > 1 and len(light.seconds) > 1:
            most = [quantiles(seconds, n=20, method="inclusive")[-1] for seconds in (light.seconds, alone)]
            print(f"95 %: {most[0] / most[1]:.1f} times its time alone")
        each = [answered.count(number) for number in range(2, HEAVY_ANALYSTS + 2)]
        print(f"heavy: {len(answered)} answered in {MANY_SECONDS} s, from {min(each)} to {max(each)} each, {len(failed)} failed "
              f"{sorted(set(failed)) or ''}\n")


def main(engines):
    machine.two_processors()
    sizes = [int(persons) for persons in os.environ.get("PEERS_GROWTH", "20000 100000 400000").split()]
    growth(sorted(engines, key=lambda name: name != OURS), sizes)
    for limit in LIMITS:
        little_memory(sizes[-1], limit)
    many(sizes[len(sizes) // 2])


if __name__ == "__main__":
    main(sys.argv[1:])
