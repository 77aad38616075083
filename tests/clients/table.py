"""The table of what works, from the suite's result into the README, between its two markers."""

import re
import sys

BEGIN, END = "<!-- clients: written by tests/clients/run --write-readme -->", "<!-- end of clients -->"


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def table(lines):
    clients = {}
    for line in lines:
        client, check, verdict, *_ = line.rstrip("\n").split("\t")
        clients.setdefault(client, []).append((check, verdict))
    rows = ["| client | works | does not |", "|---|---|---|"]
    for client, checks in clients.items():
        works = [check for check, verdict in checks if verdict == "ok"]
        fails = [check for check, verdict in checks if verdict != "ok"]
        if "(replay)" in client:
            works = [f"{len(works)} of {len(checks)} statements, by both protocols"]
            fails = sorted({re.sub(r"^\d+, \w+: ", "", check) for check in fails})
        rows.append(f"| {cell(client)} | {cell(', '.join(works))} | {cell(', '.join(fails)) or '—'} |")
    return "\n".join(rows)


results, readme = sys.argv[1:]
text = open(readme, encoding="utf-8").read()
before, rest = text.split(BEGIN)
_, after = rest.split(END)
with open(results, encoding="utf-8") as lines:
    made = table(lines)
open(readme, "w", encoding="utf-8").write(f"{before}{BEGIN}\n{made}\n{END}{after}")
