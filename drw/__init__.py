"""What operators use: setting up, starting and stopping everything, the demonstration, checks."""
