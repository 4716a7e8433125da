"""The standards that Madang speaks itself, as pure functions of bytes.

`madang.rfc.ws` is RFC 6455 (WebSocket) with RFC 7692 (permessage-deflate). It opens no socket and reads no
clock: a face feeds it what arrived and sends what it returns.
"""
