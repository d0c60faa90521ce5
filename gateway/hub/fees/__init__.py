"""Step 7 for fees: takes levies and events of payment, leaves each fee paid, waived, cancelled or given back.

Agencies or the hub levy a fee, the payment provider confirms it. An application may wait until it is paid.
"""
