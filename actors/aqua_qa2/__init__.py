"""aqua-qa2: stores pipeline reports, and lets reviewers pass or fail what the pipeline made."""
