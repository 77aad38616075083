"""A Paravent server of our own over the workload's files, on a free loopback port, and people who ask it.

In: `PARAVENT_BIN`, the folder of files. Out: connections. It ends by its own process id.
"""

import contextlib
import os
import subprocess
import tempfile

import psycopg

from questions import EVENTS_PER_PERSON, ROWS_PER_PERSON, UPPER

ADMIN, ADMIN_PASSWORD, PASSWORD = "admin", "bench administrator", "bench analyst"
# Table: file, rows a person, groups a person, other columns of the key. As in benches/workload/questions.rs.
TABLES = {
    "people": ("people", None, None, []),
    "pw": ("pw", ROWS_PER_PERSON, 52, ["week"]),
    "pwf": ("pwf", ROWS_PER_PERSON, 1, ["week"]),
    "pwf52": ("pwf", ROWS_PER_PERSON, 52, ["week"]),
    "pwf26": ("pwf", ROWS_PER_PERSON, 26, ["week"]),
    "events": ("events", EVENTS_PER_PERSON, 1, None),
}
ATTRIBUTES = ["function", "level", "country", "org"]


def statements(settings):
    """What the administrators say before anybody asks."""
    for table, (file, rows, groups, key) in TABLES.items():
        yield f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION 'workload/{file}.parquet'"
        if key is not None:
            yield f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(['person_id', *key])})"
        bounds = f", max_rows_per_person = {rows}, max_groups_per_person = {groups}" if rows else ""
        yield f"ALTER TABLE {table} SET (privacy_policy = 'people', person_key = 'person_id'{bounds})"
        columns = {"person_id": "class = 'identifier'"}
        if file in ("people", "pwf"):
            columns |= {column: "class = 'attribute'" for column in ATTRIBUTES}
        if file in ("pw", "pwf"):
            columns["week"] = "class = 'attribute'"
            columns |= {column: f"class = 'measure', lower = 0, upper = {upper}" for column, upper in UPPER.items()}
        for column, options in columns.items():
            yield f"ALTER TABLE {table} ALTER COLUMN {column} SET ({options})"
        yield f"GRANT SELECT ON {table} TO insights_analyst"
    # The largest budget there is, so that questions do not end it.
    largest = {"privacy.budget_epsilon": 100, "privacy.principal_budget_epsilon": 100, "privacy.budget_delta": 1e-3}
    for name, value in (largest | settings).items():
        yield f"ALTER SYSTEM SET {name} = {value!r}"


class Server:
    """A folder of state over the files. It stays when the process is started again."""

    def __init__(self, files, settings, analysts=1):
        self.binary = os.environ["PARAVENT_BIN"]
        self.folder = tempfile.TemporaryDirectory(prefix="paravent-peers-")
        os.symlink(os.path.abspath(files), os.path.join(self.folder.name, "workload"))
        self.process = self.port = None
        with self.running():
            admin = self.login(ADMIN, ADMIN_PASSWORD)
            for n in range(1, analysts + 1):
                admin.execute(f"CREATE ROLE analyst_{n} LOGIN PASSWORD '{PASSWORD}'")
                admin.execute(f"GRANT insights_analyst TO analyst_{n}")
            for statement in statements(settings):
                admin.execute(statement)

    @contextlib.contextmanager
    def running(self, *options):
        """The server's process, for as long as the block lasts."""
        command = [self.binary, "serve", "--data", self.folder.name, "--listen", "127.0.0.1:0", *options]
        environment = os.environ | {"PARAVENT_ADMIN_PASSWORD": ADMIN_PASSWORD}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            for line in self.process.stdout:
                if line.startswith("listening on "):
                    self.port = int(line.rsplit(":", 1)[1])
                    break
            else:
                raise RuntimeError("the server did not start")
            yield self
        finally:
            self.process.terminate()
            self.process.wait()

    def login(self, user="analyst_1", password=PASSWORD):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=user, password=password, dbname="paravent",
                               autocommit=True)

    def version(self):
        told = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True)
        return told.stdout.split()[-1]
