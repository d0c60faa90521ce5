"""A hub at work while it is attacked, killed and out of disk: what an honest broker notices of it."""
