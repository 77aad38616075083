"""The tables: seconds, ratios, errors, and why an engine cannot be asked a question."""

import math
from dataclasses import dataclass
from statistics import mean, median, quantiles

from questions import QUESTIONS

OURS, ENGINE_BELOW = "paravent", "plain_datafusion"
NONE = "–"


@dataclass(frozen=True)
class Errors:
    """Of values, relative to the exact ones: over groups, and over rounds."""

    middle: float = None
    most: float = None
    """The 95th percentile."""
    root_mean_square: float = None
    missing: float = 0
    """Groups that a round does not give."""

    @staticmethod
    def of(errors, missing=0):
        if len(errors) < 2:
            return Errors(missing=missing)
        most = quantiles(errors, n=20, method="inclusive")[-1]
        return Errors(median(errors), most, math.sqrt(mean(error**2 for error in errors)), missing)

    def __str__(self):
        return f"{percent(self.middle)}/{percent(self.most)}" + (f" -{self.missing:.0f}" if self.missing else "")


class Engine:
    def __init__(self, name, lines):
        self.name = name
        self.version = lines[0]["version"] if lines else name
        self.notes = next((line["notes"] for line in lines if "notes" in line), {})
        self.idle = next((line["idle"] for line in lines if "idle" in line), 0)
        self.answered = {line["question"]: line for line in lines if "seconds" in line}
        if self.answered:
            self.version = next(iter(self.answered.values()))["version"]
        self.cannot = {line["question"]: line["cannot"] for line in lines if "cannot" in line}
        self.private = not name.startswith("plain_")

    def seconds(self, question):
        line = self.answered.get(question)
        return median(line["seconds"]) if line else None

    def peak(self, question):
        return self.answered[question]["peak"]

    def groups(self, question):
        """The groups that it gave in at least one round."""
        rounds = self.answered[question]["answers"] if question in self.answered else []
        return {tuple(row[:-1]) for rows in rounds for row in rows if row[-1] is not None}

    def errors(self, question, truth):
        line = self.answered.get(question)
        if not line:
            return None
        errors, missing = [], []
        for rows in line["answers"]:
            got = {tuple(row[:-1]): row[-1] for row in rows if row[-1] is not None and not math.isnan(row[-1])}
            errors += [abs(got[group] / value - 1) for group, value in truth.items() if group in got and value]
            missing.append(len(truth) - sum(group in got for group in truth))
        return Errors.of(errors, median(missing))


def table(heading, rows):
    """Columns as wide as they need; the first is text."""
    lines = [[heading, *QUESTIONS], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]))
    print()


def percent(share):
    if share is None:
        return NONE
    return f"{100 * share:.2g}" if share < 1 else f"{100 * share:.0f}" if share < 100 else ">9999"


def ratio(above, below):
    return f"{above / below:.2f}" if above and below else NONE


def show(results, truth):
    engines = {name: Engine(name, lines) for name, lines in results.items()}
    peers = [engine for name, engine in engines.items() if engine.private and name != OURS]
    times(engines, peers)
    accuracy(engines, peers, truth)
    for question, asked in QUESTIONS.items():
        print(f"{question}: {asked.about}")
    print()
    for engine in engines.values():
        for question in QUESTIONS:
            if question in engine.cannot:
                print(f"{engine.version}, {question}: {NONE}, {engine.cannot[question]}")
            elif question in engine.notes:
                print(f"{engine.version}, {question}: {engine.notes[question]}")


def times(engines, peers):
    seconds = lambda value: NONE if value is None else f"{value:.3f}"
    rows = [[engine.version, *(seconds(engine.seconds(q)) for q in QUESTIONS)] for engine in engines.values()]
    if OURS in engines:
        ours = {q: engines[OURS].seconds(q) for q in QUESTIONS}
        fastest = {q: min(filter(None, (peer.seconds(q) for peer in peers)), default=None) for q in QUESTIONS}
        rows.append(["fastest private peer : Paravent", *(ratio(fastest[q], ours[q]) for q in QUESTIONS)])
        if ENGINE_BELOW in engines:
            plain = engines[ENGINE_BELOW]
            rows.append(["Paravent : plain DataFusion", *(ratio(ours[q], plain.seconds(q)) for q in QUESTIONS)])
    table("seconds, median of the rounds", rows)
    peak = lambda engine, question: f"{engine.peak(question) / 2**20:.0f}" if question in engine.answered else NONE
    rows = [[f"{engine.version} ({engine.idle / 2**20:.0f} before)", *(peak(engine, question) for question in QUESTIONS)]
            for engine in engines.values()]
    table("most memory held meanwhile, MiB (Paravent: the server)", rows)


def accuracy(engines, peers, truth):
    """Against what is exact under the bounds, which all private engines are given; first, what the bounds do by themselves."""
    by_bounds = []
    for bounded, plain in (truth[question] for question in QUESTIONS):
        by_bounds.append(Errors.of([abs(bounded[group] / plain[group] - 1) for group in plain if plain[group]]))
    rows = [["(the bounds by themselves)", *map(str, by_bounds)]]
    for engine in (engine for engine in engines.values() if engine.private):
        found = (engine.errors(question, truth[question][0]) for question in QUESTIONS)
        rows.append([engine.version, *(NONE if errors is None else str(errors) for errors in found)])
    rows.append(["groups", *(str(len(truth[question][0])) for question in QUESTIONS)])
    table("relative error in %, median/95 %, -groups missing", rows)
    if OURS not in engines:
        return
    # Like with like: on the groups that Paravent shows, for the small ones are the hardest.
    ratios = {engine.name: [] for engine in peers}
    for question in QUESTIONS:
        shown = {group: truth[question][0][group] for group in engines[OURS].groups(question)}
        ours = engines[OURS].errors(question, shown)
        for peer in peers:
            theirs = peer.errors(question, shown)
            ratios[peer.name].append(ratio(theirs and theirs.root_mean_square, ours and ours.root_mean_square))
    rows = [[f"{peer.version} : Paravent", *ratios[peer.name]] for peer in peers]
    table("root mean square error, on the groups that Paravent shows", rows)
