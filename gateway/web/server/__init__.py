"""What every HTTP front has: TLS, limits, fair queue, supervision of processes."""
