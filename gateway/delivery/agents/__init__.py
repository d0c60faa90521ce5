"""One file for each way of handing something over."""
