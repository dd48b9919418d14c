"""Imported first by the fork server that all child processes come from (`swarm.child`).

A service manager, or Ctrl-C in a shell, signals every process of a group. Ending is the node's decision: it still needs its
children to finish the round and write a checkpoint. When the node is gone their pipes end, and they end with them.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
