"""Imported by the fork server (swarm/child.py): makes the datasets of the compact tasks once, for all scoring workers to come.

Some are words picked out of a megabyte of text. A worker that made them itself would take a tenth of a second of CPU and 30 MB
of memory for it, and a simulation has two workers for every node.
"""

from swarm.tasks.reasoning import make_datasets

make_datasets()
