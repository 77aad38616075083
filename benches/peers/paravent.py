"""Paravent, over the wire, with a privacy per answer that is worth the same as the others'.

Of an answer alone the least noise is Laplace's, where a person is in one group: it spends `privacy.epsilon` = EPSILON itself. Where a
person is in many, and where several answers share the budget, Gaussian noise is less; it is accounted in zCDP: an answer that spends
`privacy.epsilon` = e costs rho = e²/2. Either way its ledger, `privacy.budget`, has EPSILON spent after ANSWERS answers. Choosing groups
may use half of delta.
"""

import atexit
import math

from privacy import ANSWERS, DELTA, EACH_DELTA, EPSILON, each_rho
from questions import QUESTIONS
from server import Server

SETTINGS = {"privacy.epsilon": EPSILON, "privacy.delta": EACH_DELTA / 2}
EACH_GAUSSIAN = math.floor(1e6 * math.sqrt(2 * each_rho(DELTA / 2))) / 1e6
GAUSSIAN = {"privacy.mechanism": "gaussian", "privacy.epsilon": EACH_GAUSSIAN}
LAPLACE = {"privacy.mechanism": "laplace", "privacy.epsilon": EPSILON}
MANY_GROUPS = ("Q3", "Q3L0")
# What an analyst says who knows that the groups are large: choosing them needs little of the price. An organisation's share (Q6) chooses
# by its own counts.
PERSONS = {"Q4": 0.001, "Q5": 0.1}
WEIGHTS = {name: {"privacy.weights": f"persons={weight}"} for name, weight in PERSONS.items()}
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

    def asker(name, sql):
        """In a session of its own."""
        analyst = server.login()
        noise = LAPLACE if ANSWERS == 1 and name not in MANY_GROUPS else GAUSSIAN
        for setting, value in (noise | WEIGHTS.get(name, {})).items():
            analyst.execute(f"SET {setting} = {value!r}")
        return lambda n: analyst.execute(sql.format(n=n)).fetchall()

    asked = {name: asker(name, question.sql) for name, question in QUESTIONS.items()}
    asked["Q3"] = asker("Q3", QUESTIONS["Q3"].sql.replace("FROM pwf", "FROM pwf52"))
    asked["Q3L0"] = asker("Q3L0", QUESTIONS["Q3"].sql.replace("FROM pwf", "FROM pwf26"))
    return asked
