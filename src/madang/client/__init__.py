"""The client: the other end of the line. What you write is `Client`, in asyncio, and `BlockingClient`, in a thread."""
