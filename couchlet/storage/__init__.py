"""Databases on disk: one SQLite file each, found through a catalogue."""
