"""KServe's own ModelServer: ``python -m benchmarks.eventing.kserve_server MODEL PORT [PREDICTOR]``.

With the ``HOST:PORT`` of a predictor it is a transformer before it. Its logs of every request are off.
"""

from __future__ import annotations

import logging
import sys

from benchmarks.eventing.kserve_loop import wait_for
from benchmarks.eventing.models import kserve_predictor, kserve_transformer
from kserve import ModelServer, PredictorConfig
from kserve import logging as kserve_logging


def main(name: str, port: str, predictor: str = "") -> None:
    """Serve until the process ends."""
    kserve_logging.configure_logging()
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if predictor:
        host, _, number = predictor.partition(":")
        wait_for(host, int(number))
    model = kserve_transformer(name) if predictor else kserve_predictor(name)
    model.load()
    config = PredictorConfig(predictor, "v1" if name == "echo" else "v2") if predictor else None
    quiet = {"enable_grpc": False, "enable_latency_logging": False}
    ModelServer(http_port=int(port), predictor_config=config, **quiet).start([model])


if __name__ == "__main__":
    main(*sys.argv[1:])
