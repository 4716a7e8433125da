"""The core: who is connected. Plain synchronous code that takes bytes and the time, and never waits."""
