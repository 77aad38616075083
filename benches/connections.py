#!/usr/bin/env python3
"""What connections cost: a real server process, and clients that speak the protocol themselves (Python alone, nothing to install).

    benches/connections.py PATH/TO/paravent [idle|cancel|mixed …]      # all three unless said

idle    500 sessions, each of which has asked once: what they add to the server's memory (wanted: less than 200 MB).
cancel  from pg_cancel_backend to the client's error, to the turn of the next in the queue and to the last of its memory
        (wanted: 200 ms), over 10 statements that hold memory.
mixed   one analyst's light questions alone, and beside 16 analysts with heavy ones (wanted: the 95th percentile under 5 times).
"""

import base64
import hashlib
import hmac
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

PASSWORD = "admin"
PAGES = os.sysconf("SC_PAGE_SIZE")


class Refused(Exception):
    pass


class Client:
    """One session: SCRAM, simple queries, rows as lists of text."""

    def __init__(self, port, user, password):
        self.io = socket.create_connection(("127.0.0.1", port))
        self.io.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = self.io.makefile("rb")
        body = struct.pack("!i", 3 << 16) + f"user\0{user}\0database\0paravent\0\0".encode()
        self.io.sendall(struct.pack("!i", len(body) + 4) + body)
        self.next()
        bare = "n=,r=" + base64.b64encode(os.urandom(18)).decode()
        first = ("n,," + bare).encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        server = self.next()[1][4:].decode()
        fields = dict(part.split("=", 1) for part in server.split(","))
        final = "c=biws,r=" + fields["r"]
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = ",".join([bare, server, final]).encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.send(b"p", f"{final},p={proof}".encode())
        self.until_ready()

    def send(self, kind, body):
        self.io.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def next(self):
        kind = self.buffer.read(1)
        if not kind:
            raise Refused("the server hung up")
        length = struct.unpack("!i", self.buffer.read(4))[0]
        body = self.buffer.read(length - 4)
        return kind, body

    def until_ready(self):
        rows, error = [], None
        while True:
            kind, body = self.next()
            if kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack("!h", body[:2])[0]):
                    size = struct.unpack("!i", body[at : at + 4])[0]
                    at += 4
                    row.append(None if size < 0 else body[at : at + size].decode())
                    at += max(size, 0)
                rows.append(row)
            elif kind == b"E":
                error = body.replace(b"\0", b" ").decode()
                if b"FATAL" in body:
                    raise Refused(error)
            elif kind == b"Z":
                if error:
                    raise Refused(error)
                return rows

    def ask(self, sql):
        self.send(b"Q", sql.encode() + b"\0")
        return self.until_ready()


class Server:
    def __init__(self, binary, *options):
        self.folder = tempfile.TemporaryDirectory()
        command = [binary, "serve", "--data", self.folder.name, "--listen", "127.0.0.1:0", *options]
        environment = {**os.environ, "PARAVENT_ADMIN_PASSWORD": PASSWORD}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.admin = Client(self.port, "admin", PASSWORD)
        for n in range(17):
            self.admin.ask(f"CREATE ROLE ana_{n} LOGIN PASSWORD 'ana' IN ROLE insights_analyst")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def table(self, name, columns, lines):
        with open(os.path.join(self.folder.name, f"{name}.csv"), "w") as file:
            file.write(columns + "\n")
            file.writelines(lines)
        self.admin.ask(f"CREATE EXTERNAL TABLE {name} STORED AS CSV LOCATION '{name}.csv'")

    def analyst(self, n=0):
        return Client(self.port, f"ana_{n}", "ana")

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * PAGES


def idle(binary):
    with Server(binary) as server:
        server.admin.ask("ALTER SYSTEM SET max_connections = 600")
        server.table("line", "n", (f"{n}\n" for n in range(1000)))
        server.admin.ask("ALTER TABLE line SET (public = true)")
        server.admin.ask("GRANT SELECT ON line TO insights_analyst")
        questions = ["SELECT 1", "SELECT count(*) FROM line", "SELECT count(*) FROM pg_class"]
        warm = [server.analyst(n % 17) for n in range(8)]
        for question in questions * 4:
            for client in warm:
                client.ask(question)
        before = server.resident()
        clients = [server.analyst(n % 17) for n in range(500)]
        logged_in = server.resident()
        for n, client in enumerate(clients):
            client.ask(questions[n % len(questions)])
        time.sleep(1)
        after = server.resident()
        used = server.admin.ask("SELECT count(*) FROM pg_stat_activity")[0][0]
        print(
            f"idle: {used} sessions; 500 of them add {(logged_in - before) / 1e6:.1f} MB when logged in and "
            f"{(after - before) / 1e6:.1f} MB after a statement each (wanted: 200 MB); {after / 1e6:.0f} MB in all"
        )
        del clients


def cancel(binary):
    with Server(binary, "--memory-limit", "512MB") as server:
        for name, lines in [("line", 10_000), ("long", 1_500_000)]:
            server.table(name, "n", (f"{n}\n" for n in range(lines)))
            server.admin.ask(f"ALTER TABLE {name} SET (public = true)")
            server.admin.ask(f"GRANT SELECT ON {name} TO insights_analyst")
        heavy = "SELECT a.n, b.n, count(*) FROM line AS a CROSS JOIN long AS b GROUP BY 1, 2"
        watcher = server.analyst()
        stages = "SELECT pid, stage FROM privacy.running_queries WHERE pid <> pg_backend_pid() ORDER BY started"

        def watch(done):
            while not done(found := watcher.ask(stages)):
                time.sleep(0.002)
            return found

        cores = os.cpu_count()
        until_told, until_turn = [], []
        for _ in range(10):
            told = {}

            def run(client, pid):
                try:
                    client.ask(heavy)
                except Refused:
                    told[pid] = time.monotonic()

            threads = []
            for _ in range(cores + 1):
                client = server.analyst()
                pid = client.ask("SELECT pg_backend_pid()")[0][0]
                threads.append(threading.Thread(target=run, args=(client, pid)))
                threads[-1].start()
            found = watch(lambda rows: [row[1] for row in rows].count("scan") == cores and len(rows) == cores + 1)
            time.sleep(0.3)
            victim = next(row[0] for row in found if row[1] == "scan")
            start = time.monotonic()
            watcher.ask(f"SELECT pg_cancel_backend({victim})")
            watch(lambda rows: [row[1] for row in rows].count("scan") == cores and len(rows) == cores)
            until_turn.append(time.monotonic() - start)
            for row in watcher.ask(stages):
                watcher.ask(f"SELECT pg_cancel_backend({row[0]})")
            for thread in threads:
                thread.join()
            until_told.append(told[victim] - start)
        worst = lambda times: f"median {statistics.median(times) * 1e3:.0f} ms, longest {max(times) * 1e3:.0f} ms"
        print(f"cancel: client told {worst(until_told)}; the next has its turn {worst(until_turn)} (wanted: 200 ms)")


def mixed(binary):
    with Server(binary) as server:
        # 40,000 persons and two million rows of theirs: the heavy questions read them all, the light ones read the persons.
        server.table("person", "person_id,grp", (f"{n},g{n % 8}\n" for n in range(40_000)))
        hours = (f"{n % 40_000},{n // 40_000},{(n * 7919) % 60}\n" for n in range(2_000_000))
        server.table("person_week", "person_id,week,hours", hours)
        for statement in [
            "ALTER TABLE person ADD PRIMARY KEY (person_id)",
            "ALTER TABLE person SET (person_key = 'person_id', privacy_policy = 'people')",
            "ALTER TABLE person ALTER COLUMN person_id SET (class = 'identifier')",
            "ALTER TABLE person ALTER COLUMN grp SET (class = 'attribute')",
            "ALTER TABLE person_week ADD PRIMARY KEY (person_id, week)",
            "ALTER TABLE person_week SET (person_key = 'person_id', privacy_policy = 'people', max_rows_per_person = 50)",
            "ALTER TABLE person_week ALTER COLUMN person_id SET (class = 'identifier')",
            "ALTER TABLE person_week ALTER COLUMN week SET (class = 'attribute')",
            "ALTER TABLE person_week ALTER COLUMN hours SET (class = 'measure', lower = 0, upper = 60)",
            "GRANT SELECT ON person, person_week TO insights_analyst",
            "ALTER SYSTEM SET privacy.epsilon = 0.001",
            "ALTER SYSTEM SET privacy.delta = 1e-15",
            "ALTER SYSTEM SET statement_timeout = '10min'",
        ]:
            server.admin.ask(statement)
        light, number = server.analyst(16), iter(range(10**9))

        def times(count):
            found = []
            for _ in range(count):
                start = time.monotonic()
                light.ask(f"SELECT grp, count(*) FROM person WHERE grp <> 'x{next(number)}' GROUP BY grp")
                found.append(time.monotonic() - start)
            return sorted(found)

        times(5)
        alone = times(40)
        stop, asked = threading.Event(), [0] * 16

        def heavy(n):
            client = server.analyst(n)
            while not stop.is_set():
                client.ask(
                    f"SELECT grp, avg(hours), count(*) FROM person JOIN person_week USING (person_id) "
                    f"WHERE grp <> 'y{n} {asked[n]}' GROUP BY grp"
                )
                asked[n] += 1

        threads = [threading.Thread(target=heavy, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        time.sleep(3)
        beside = times(40)
        stop.set()
        for thread in threads:
            thread.join()
        at = lambda found, share: found[int(share * (len(found) - 1))]
        print(
            f"mixed: light alone median {at(alone, 0.5) * 1e3:.0f} ms, 95 % {at(alone, 0.95) * 1e3:.0f} ms; beside 16 heavy "
            f"median {at(beside, 0.5) * 1e3:.0f} ms, 95 % {at(beside, 0.95) * 1e3:.0f} ms: "
            f"{at(beside, 0.95) / at(alone, 0.95):.1f} times (wanted: 5); heavy answered {sum(asked)}, least {min(asked)}, most {max(asked)}"
        )


if __name__ == "__main__":
    measures = {"idle": idle, "cancel": cancel, "mixed": mixed}
    for name in sys.argv[2:] or measures:
        measures[name](os.path.abspath(sys.argv[1]))
