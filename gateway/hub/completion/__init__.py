"""How a case ends: results, their delivery, what an operator may do about both."""
