"""Step 8 for time: takes the state of a case, leaves its deadlines, and acts when one of them passes.

The timetable in force gives the due time of each obligation. A worker fires the deadlines that have passed.
"""
