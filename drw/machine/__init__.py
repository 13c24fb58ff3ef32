"""What runs on this machine: starting its processes, keeping them running, and ending them in good order."""
