"""Asks one engine all questions and writes down what came.

In: the name of a module, the folder of files, a file for the results. Such a module has

* `VERSION`: what is measured;
* `prepare(files)`: whatever may be done once, before anybody asks; gives by question a function of `n`, which asks a new
  question and gives its rows (groups, then the value), or a text that says why the engine cannot be asked;
* `NOTES`, where it has any: by question, what a reader of its figures must know;
* `process()`, where another process does the work: its id.

Out: a JSON line a question: the seconds of each round, the answers, and the most memory that the process held meanwhile. The
first round warms up and is not timed.
"""

import importlib
import json
import os
import sys
import time

from questions import QUESTIONS

# These questions alone, where it is set.
ONLY = os.environ.get("PEERS_QUESTIONS", " ".join(QUESTIONS)).split()
ROUNDS = int(os.environ.get("PEERS_ROUNDS", 7))
# After so many seconds an engine's question gets no further round.
PATIENCE_SECONDS = float(os.environ.get("PEERS_PATIENCE", 60))


def forget_peak(process):
    """From now on, the peak is of what follows. What the process keeps from before stays in it."""
    with open(f"/proc/{process}/clear_refs", "w", encoding="ascii") as marks:
        marks.write("5")


def peak_bytes(process):
    with open(f"/proc/{process}/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def measure(ask):
    """Seconds and rows of each round that counts."""
    seconds, answers, begun = [], [], time.perf_counter()
    for n in range(ROUNDS + 1):
        start = time.perf_counter()
        rows = ask(n)
        took = time.perf_counter() - start
        if n > 0:
            seconds.append(took)
            answers.append([[*map(str, row[:-1]), None if row[-1] is None else float(row[-1])] for row in rows])
        if seconds and time.perf_counter() - begun > PATIENCE_SECONDS:
            break
    return seconds, answers


def main(name, files, results):
    module = importlib.import_module(name)
    asked = 0
    with open(results, "w", encoding="utf-8") as out:
        def tell(**line):
            print(json.dumps({"engine": name, "version": module.VERSION, **line}), file=out, flush=True)

        tell(notes=getattr(module, "NOTES", {}))
        askers = module.prepare(files)
        process = getattr(module, "process", os.getpid)()
        forget_peak(process)
        tell(idle=peak_bytes(process))
        for question in ONLY:
            ask = askers[question]
            if isinstance(ask, str):
                tell(question=question, cannot=ask)
                continue
            try:
                # Other numbers than any other question's, so that nothing is asked twice.
                forget_peak(process)
                seconds, answers = measure(lambda n: ask(asked + n))
                tell(question=question, seconds=seconds, answers=answers, peak=peak_bytes(process))
            except BaseException as error:  # pyo3 panics are no Exception
                if isinstance(error, KeyboardInterrupt):
                    raise
                tell(question=question, cannot=f"it failed: {type(error).__name__}: {str(error)[:160]}")
            asked += ROUNDS + 1


if __name__ == "__main__":
    main(*sys.argv[1:])
