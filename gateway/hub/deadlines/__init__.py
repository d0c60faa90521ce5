"""Step 8 for time: takes the state of a case, leaves its deadlines, and acts when one of them passes.

The timetable in force says until when each obligation is due. A worker fires the deadlines that have passed.
"""
