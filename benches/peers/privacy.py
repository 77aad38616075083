"""What privacy every private engine is to give, in whatever terms it wants to be told.

What `ANSWERS` answers tell is (EPSILON, DELTA)-differentially private together. With one answer, the least noise is Laplace's
where a person reaches one group; with many, those who account in zCDP gain. Who composes by adding gets EPSILON / ANSWERS.
"""

import math
import os

EPSILON, DELTA = 1.0, 1e-6
ANSWERS = int(os.environ.get("PEERS_ANSWERS", 1))
EACH_EPSILON, EACH_DELTA = EPSILON / ANSWERS, DELTA / ANSWERS


def epsilon_of(rho, delta):
    """An epsilon for which rho-zCDP is (epsilon, delta)-DP: the least over orders from near 1 to far away.

    Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (2020), Corollary 13: the server's own bound.
    """
    orders = (1 + math.exp(x / 100) for x in range(-500, 1500))
    return min(a * rho + math.log1p(-1 / a) + (math.log(1 / delta) - math.log(a)) / (a - 1) for a in orders)


def each_rho(delta):
    """The rho of each answer, where all answers together may use so much delta."""
    low, high = 0.0, EPSILON
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(middle, delta) <= EPSILON else (low, middle)
    return low / ANSWERS
