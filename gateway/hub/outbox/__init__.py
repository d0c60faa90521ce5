"""Step 9, the way out: takes messages, calls and tasks of the hub, and leaves them sealed in the queue.

Messages, signals and their failures, local tasks, calls of agencies, and large messages in fragments are
queued in the transaction that decides on them. `gateway.delivery` sends them.
"""
