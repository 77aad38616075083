"""Paravent, over the wire, with a privacy per answer that is worth the same as the others'.

The server accounts in zCDP: an answer that spends `privacy.epsilon` = e costs rho = e²/2, and `privacy.delta` for choosing
groups. With these settings its ledger, `privacy.budget`, has EPSILON spent after ANSWERS answers.
"""

import atexit
import math

from privacy import DELTA, EACH_DELTA, each_rho
from questions import QUESTIONS
from server import Server

# Choosing groups may use a tenth of delta.
SETTINGS = {
    "privacy.epsilon": math.floor(1e6 * math.sqrt(2 * each_rho(DELTA * 0.9))) / 1e6,
    "privacy.delta": EACH_DELTA / 10,
}
VERSION = "Paravent"
NOTES = {
    "Q3": "asked of pwf52, the same file with 52 groups a person declared; pwf's rows are all of one group",
}


def process():
    return server.process.pid


def prepare(files):
    global VERSION, server
    server = Server(files, SETTINGS)
    running = server.running()
    running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    VERSION = f"Paravent {server.version()}"
    analyst = server.login()
    asker = lambda sql: lambda n: analyst.execute(sql.format(n=n)).fetchall()
    asked = {name: asker(question.sql) for name, question in QUESTIONS.items()}
    asked["Q3"] = asker(QUESTIONS["Q3"].sql.replace("FROM pwf", "FROM pwf52"))
    asked["Q3L0"] = asker(QUESTIONS["Q3"].sql.replace("FROM pwf", "FROM pwf26"))
    return asked
