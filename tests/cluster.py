"""A Ray cluster of two machines of a core and a (claimed) GPU each, both of them this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

MEMORY = 80 * 1024 * 1024  # bytes of each object store


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start the cluster, give its address, and end it whatever happens."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(
                num_cpus=1, num_gpus=1, object_store_memory=MEMORY, include_dashboard=False
            )
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()
