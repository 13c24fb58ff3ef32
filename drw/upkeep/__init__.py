"""Keeping a place in order: what contradicts what and its repair, records made anew, and what is over removed.

``evidence`` gathers what there is; ``contradictions``, ``delivered`` and ``retention`` are the rules, pure;
``repairs``, ``rebuild``, ``prune`` and ``work`` carry them out; ``check``, ``rebuild`` and ``prune`` are the commands.
"""
