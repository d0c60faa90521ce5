"""Steps 8 to 10: take the decisions of a case, leave the signed result, and in the end a closed case.

The conclusion is composed from all decisions that count and is sent to the applicant; receipts and errors of
the other side settle the deliveries. Operators act on deliveries and lanes here.
"""
