"""Draws one mapping: the applicant's fields on the left, the request on the right, lines between them.

The diagram is one page of HTML with SVG; it needs no script and no other file.
"""
