"""What every process of drw stands on: names, life cycle, message bus, database adapter.

Imports point one way: nothing in here imports from ``actors``, ``drw`` or ``dashboard``.
"""
