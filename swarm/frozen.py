"""Hides the fork server's imports from the garbage collector; `swarm.child` has it imported last.

A collection in a child writes to every object it visits, and a written page is no longer shared.
Without this file each child soon holds its own 80 MB copy of torch's Python objects, and spends a
quarter of a second making it.
"""

import gc

gc.collect()
gc.freeze()
