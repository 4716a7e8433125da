# The source is native/many.c.

def send_many(descriptors: list[int], buffers: list[bytes], /) -> list[tuple[int, int]]:
    """Send to many sockets, without waiting for any, and without the GIL.

    Args:
        descriptors: file descriptors of stream sockets.
        buffers: what goes to each; it may be the same object for all.

    Returns:
        For each socket that has not taken all: its place in the lists, and how many bytes it took; none after an
        error.
    """
