"""Step 1: takes octets that arrive, leaves a stored message and its receipt, or a refusal.

A message comes by ebXML messaging, by the API, in fragments, or as the answer to a PullRequest. It is
opened, its signature is verified, it gets its position in the order of its conversation, and it is stored
with the task that admits it, in one transaction. Only then it is answered. Messages for other handlers
are stored and queued to go on.
"""
