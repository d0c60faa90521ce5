"""Steps 6 to 8: take the answer of an agency, leave its notice, its effects, and the new state of the case.

An answer comes in the response to a call, in a call of the agency, or as a document that is delivered later.
Answer, effects and state are stored in one transaction; the messages that follow are queued.
"""
