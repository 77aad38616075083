"""One line a check: client, check, ok|FAILED|skipped, reason; tabs between. What a check raises is its reason."""

import os
import traceback

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ.get("PGPORT", "5433"))
DATABASE = "paravent"
ANALYST = ("analyst_1", "analyst")
ADMIN = ("admin", "admin")

# One question for all clients: it is paid for once, and everybody must see the same rows.
QUESTION = (
    "SELECT function, count(*) AS persons, avg(after_hours) AS hours "
    "FROM person JOIN person_week USING (person_id) GROUP BY function ORDER BY persons DESC"
)
REFUSED = "SELECT * FROM person"
REFUSED_STATE = "42501"


class Suite:
    def __init__(self, client):
        self.client = client

    def say(self, check, verdict, reason=""):
        reason = " ".join(str(reason).split())[:300]
        print(self.client, check, verdict, reason, sep="\t", flush=True)

    def skip(self, check, reason):
        self.say(check, "skipped", reason)

    def check(self, name):
        """Decorates a function: runs it at once."""

        def run(body):
            try:
                body()
            except Exception as error:  # whatever a client raises is a finding
                if os.environ.get("CLIENTS_TRACE"):
                    traceback.print_exc()
                self.say(name, "FAILED", f"{type(error).__name__}: {error}")
            else:
                self.say(name, "ok")
            return body

        return run


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r} is not {expected!r}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def answer(rows):
    """Is this the answer to QUESTION?"""
    rows = [tuple(row) for row in rows]
    true(len(rows) >= 5, f"{len(rows)} rows")
    counts = [int(row[1]) for row in rows]
    true(counts == sorted(counts, reverse=True), "the order is lost")
    true(all(isinstance(row[0], str) and 0 <= float(row[2]) <= 20 for row in rows), f"odd values: {rows[0]!r}")
    return rows
