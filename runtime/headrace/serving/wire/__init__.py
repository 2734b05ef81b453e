"""HTTP/1.1 on sockets: bytes to requests, responses to bytes, and the life of a connection.

Belongs here: parsing (httptools), limits, keep-alive, pipelining, slow and vanished clients. Does not belong here: what
any path means. It stands where an ASGI server would: handing over a value and taking one back costs a third of what
ASGI's messages do, and a client that hangs up is known at once.
"""
