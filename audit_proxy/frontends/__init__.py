"""Front ends: what speaks a protocol. They alone choose status codes, and never import one another or an adapter."""
