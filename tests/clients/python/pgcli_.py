"""pgcli: its completion refresher reads the whole catalog; then a statement through its own executor."""

from pgcli.completion_refresher import CompletionRefresher
from pgcli.pgexecute import PGExecute

from harness import ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, Suite, answer, true

suite = Suite("pgcli")
executor = PGExecute(database=DATABASE, user=ANALYST[0], password=ANALYST[1], host=HOST, port=str(PORT))


def run(sql):
    """The rows of the last result and whether it succeeded."""
    *_, (title, rows, headers, status, query, success, is_special) = executor.run(sql)
    return (list(rows) if rows is not None else []), success


@suite.check("a question")
def _():
    rows, success = run(QUESTION)
    true(success, "failed")
    answer(rows)


for part in (
    "search_path", "schemata", "tables", "views", "table_columns", "view_columns", "databases", "full_databases",
    "foreignkeys", "functions", "datatypes",
):
    def read(part=part):
        found = getattr(executor, part)()
        found = list(found) if found is not None else []
        expected = {"search_path": "public", "tables": ("public", "person"), "databases": "paravent"}.get(part)
        true(expected is None or expected in found, found)

    suite.check(f"completion: {part}")(read)


@suite.check("completion refresher")
def _():
    import threading

    ready, failed = threading.Event(), []
    hook, threading.excepthook = threading.excepthook, lambda given: (failed.append(given.exc_value), ready.set())
    try:
        from pgspecial.main import PGSpecial

        CompletionRefresher().refresh(executor, PGSpecial(), lambda completer: ready.set())
        true(ready.wait(30) and not failed, failed or "no completer")
    finally:
        threading.excepthook = hook


@suite.check("backslash commands")
def _():
    from pgspecial.main import PGSpecial

    special = PGSpecial()
    for command in ("\\dt", "\\d person", "\\l", "\\du", "\\dn", "\\df", "\\dv", "\\di", "\\dT", "\\dx", "\\dp"):
        list(special.execute(executor.conn.cursor(), command))


@suite.check("refused, then usable")
def _():
    try:
        _, success = run(REFUSED)
        true(not success, "not refused")
    except Exception as error:
        true(getattr(error, "sqlstate", None) == "42501", repr(error))
    rows, _ = run(QUESTION)
    answer(rows)
