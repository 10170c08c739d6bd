import platform

import launcher


@launcher.run(accelerator="v5litepod-1")
def hello(name: str) -> str:
    return f"hello {name}, from {platform.node()}"


print(hello("world"))
