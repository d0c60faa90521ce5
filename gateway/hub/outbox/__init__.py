"""What the hub has to send: messages and requests that wait for delivery."""
