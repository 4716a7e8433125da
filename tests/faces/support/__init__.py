"""Raw clients, and the server processes that they talk to."""
