"""What the tests with real clients share: a server process per face, and the application that it serves."""
