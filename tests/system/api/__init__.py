"""TLS with real sockets: who is let in, what we believe when we call, and what handshakes may cost."""
