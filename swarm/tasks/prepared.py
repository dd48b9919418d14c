"""Makes the datasets of the compact tasks in the fork server, once for all scoring workers.

`swarm.child` has this module imported. Some datasets are words picked from a megabyte of text: a
worker that made them itself would take a tenth of a second of CPU and 30 MB of memory. A simulation
has two workers for every node.
"""

from swarm.tasks.reasoning import make_datasets

make_datasets()
