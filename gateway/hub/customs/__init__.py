"""Steps 7 and 9 for customs: take its notices, leave the state of clearance and the news to agencies.

Customs answers calls of the hub or calls the hub. Decisions of agencies after clearance are recorded and
reported to customs.
"""
