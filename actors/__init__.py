"""The actors: independent processes that share nothing but the bus and the databases. They never import each other."""

from shared import interrupts

interrupts.said_in_one_line()
