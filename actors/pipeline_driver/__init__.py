"""pipeline-driver: runs the pipeline on OUSs at one executive, and sends on what it made."""
