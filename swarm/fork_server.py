"""Makes the fork server of all child processes ignore signals; `swarm.child` has it imported first.

A service manager, or Ctrl-C in a shell, signals every process of a group. Ending is the node's
decision: it still needs its children to finish the round and write a checkpoint. When the node is
gone, their pipes end and the children with them.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
