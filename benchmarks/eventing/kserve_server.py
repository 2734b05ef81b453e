"""KServe's own ModelServer with the echo model: ``python -m benchmarks.eventing.kserve_server PORT [PREDICTOR]``.

With the ``HOST:PORT`` of a predictor it is a transformer before it. Its logs of every request are off.
"""

from __future__ import annotations

import logging
import sys

from benchmarks.eventing.echo import Echo, Relay
from benchmarks.eventing.kserve_loop import wait_for
from kserve import ModelServer, PredictorConfig
from kserve import logging as kserve_logging


def main(port: str, predictor: str = "") -> None:
    """Serve until the process ends."""
    kserve_logging.configure_logging()
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if predictor:
        host, _, number = predictor.partition(":")
        wait_for(host, int(number))
    model = Relay("echo") if predictor else Echo("echo")
    model.load()
    config = PredictorConfig(predictor) if predictor else None
    quiet = {"enable_grpc": False, "enable_latency_logging": False}
    ModelServer(http_port=int(port), predictor_config=config, **quiet).start([model])


if __name__ == "__main__":
    main(*sys.argv[1:])
