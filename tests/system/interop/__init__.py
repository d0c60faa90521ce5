"""Against a SOAP stack that is not ours: Apache CXF with WSS4J, in a Java process."""
