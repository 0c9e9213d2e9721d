"""Where the library lists what is public."""

import pkgutil

import ocnet


def public_places() -> list[str]:
    """`ocnet`, its packages, and the modules next to them."""
    found = pkgutil.iter_modules(ocnet.__path__)
    return ["ocnet", *(f"ocnet.{m.name}" for m in found if not m.name.startswith("_"))]
