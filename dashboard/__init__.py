"""The dashboard: everything that is interesting to know about the system, in a browser."""

from shared import interrupts

interrupts.said_in_one_line()
