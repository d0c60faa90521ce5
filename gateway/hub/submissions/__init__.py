"""Steps 2 to 4: take a stored submission, leave a case with one queued application for each agency.

A submission is admitted, split by agency and compared with the rules in force. It is then refused, held
until a requirement is met, or forwarded. A withdrawal of the whole declaration is admitted here, too.
"""
