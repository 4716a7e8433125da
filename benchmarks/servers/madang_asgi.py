"""The application of ``madang_app.py`` as any ASGI server runs it: uvicorn, without Madang's own protocol classes.

Settings: those of uvicorn are in ``peers.py``, the same as python-socketio's.
"""

from madang_app import io

app = io.asgi()
