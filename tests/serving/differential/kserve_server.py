"""KServe's own server around the twin model: ``kserve_server.py HTTP_PORT GRPC_PORT``."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    http_port, grpc_port = map(int, sys.argv[1:3])
    sys.argv = sys.argv[:1]  # kserve parses it when it is imported

    import kserve
    from twin_model import Twin  # type: ignore[import-not-found]  # a module beside this one

    kserve.ModelServer(http_port=http_port, grpc_port=grpc_port).start([Twin("twin")])
