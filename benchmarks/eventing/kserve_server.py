"""KServe's own ModelServer with the echo model: ``python -m benchmarks.eventing.kserve_server PORT``.

Its logs of every request are off.
"""

from __future__ import annotations

import logging
import sys

from benchmarks.eventing.echo import Echo
from kserve import ModelServer
from kserve import logging as kserve_logging

if __name__ == "__main__":
    kserve_logging.configure_logging()
    logging.getLogger("uvicorn.access").disabled = True
    model = Echo("echo")
    model.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, enable_latency_logging=False).start([model])
