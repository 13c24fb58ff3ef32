"""What operators use: setting up, starting and stopping everything, the demonstration, checks."""

from shared import interrupts

interrupts.said_in_one_line()
