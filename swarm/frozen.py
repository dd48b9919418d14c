"""Imported last by the fork server (child.py): takes all it has imported out of the garbage collector's sight.

A collection in a child writes to every object it visits, and a page that is written to is no longer shared: without this
each child soon holds its own 80 MB copy of torch's Python objects and spends a quarter of a second making it.
"""

import gc

gc.collect()
gc.freeze()
