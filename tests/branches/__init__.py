"""Branches measured at the price of lines: marks in the compiled program.

Before 3.14 Python tells a tool cheaply which lines run, and not which way a branch takes. Here each way of a
branch gets a line of its own in the compiled files. What is measured are lines; those of the marks are
read as branches afterwards. From 3.14 on coverage.py does the same by itself (`COVERAGE_CORE=sysmon`).
"""
