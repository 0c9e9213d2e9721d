"""The regimes of deep networks: identity, ODE, SDE, explosion or collapse."""

from typing import Literal


Regime = Literal["identity", "ODE", "SDE", "explosion", "collapse"]

MEANING: dict[Regime, str] = {
    "identity": "as the network gets deeper its layers cancel out: the output tends to the input",
    "ODE": "deep networks tend to an ordinary differential equation",
    "SDE": "deep networks tend to a differential equation driven by noise, and stay random",
    "explosion": "states or gradients grow without bound as the network gets deeper",
    "collapse": "states or gradients shrink to nothing as the network gets deeper",
}
