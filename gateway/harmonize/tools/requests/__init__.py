"""Draws a request as the form of its document, from the octets that the agency was sent."""
