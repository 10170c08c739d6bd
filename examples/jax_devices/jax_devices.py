"""Which devices JAX sees there, and a matrix product spread over all of them."""

from __future__ import annotations

import argparse
from typing import Any

import launcher


@launcher.run(accelerator="v5litepod-4")
def jax_devices(size: int) -> dict[str, Any]:
    """Multiply two ``size`` x ``size`` matrices, the rows of the first spread over all chips."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    devices = jax.devices()
    print(devices, flush=True)
    mesh = jax.make_mesh((len(devices),), ("rows",))
    rows = jax.device_put(jnp.ones((size, size)), NamedSharding(mesh, PartitionSpec("rows")))
    whole = jax.device_put(jnp.full((size, size), 2.0), NamedSharding(mesh, PartitionSpec()))
    product = jax.jit(jnp.matmul)(rows, whole)
    parts = product.addressable_shards
    print(f"{product.shape} in {len(parts)} parts of {parts[0].data.shape}", flush=True)
    return {
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in devices],
        "parts": len(parts),
        "correct": bool((product == 2.0 * size).all()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default="v5litepod-4", help="such as v5litepod-1 or v6e-4")
    print(jax_devices.with_options(accelerator=parser.parse_args().accelerator)(1024))
