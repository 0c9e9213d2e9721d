"""What a depth certificate says: numbers, one table and one sentence."""

import math
from dataclasses import dataclass

from tabulate import tabulate

from ..solver import Solver
from .terms import Advice, CLOSE, number, Optima, Order, Spread, told, up_to


@dataclass(frozen=True)
class Certificate:
    """How far the steps of a solver are from the ODE with the same control.

    The path is measured at all nodes and between them, component by component, relative to the
    range of the component along the path; the cost relative to its own scale
    (`ocnet.certificate.path.scales`, `ocnet.certificate.reference.cost_scale`).

    Attributes:
        solver, n: The network, and its steps.
        outcome: "behaves", "does not", "not asymptotic yet" or "could not be estimated".
        reason: Why, for the last two outcomes.
        cost: The mean cost of the network.
        ode_cost: That of the same control in the ODE, by the adaptive reference.
        ode_cost_fine: The same, by the fine grid.
        extrapolated_cost: The same, estimated from the network at `n` and `2 n` steps; None where
            the error does not fall as it should.
        path_gap, cost_gap: The gaps, over the samples.
        times: The number of times at which the paths are compared, without the first.
        samples, beyond: How many samples there are, and how many are off by more than 5%.
        worst_time, worst_component: Where the path of the worst sample is off most.
        disagreement: How far the two references are apart, of the worst sample.
        order: The observed order.
        missed_knots, knots: How many of the control's knots no step ends at, and how many it has.
        advice: For a network that does not behave like its ODE, a depth that was run.
        optima: Optimal costs at several depths, or None.
        known: The known optimal cost, or None.
        ode_violation: By how much the control violates a constraint in the ODE, or None.
    """

    solver: str
    n: int
    outcome: str
    reason: str
    cost: float
    ode_cost: float | None = None
    ode_cost_fine: float | None = None
    extrapolated_cost: float | None = None
    path_gap: Spread | None = None
    cost_gap: Spread | None = None
    times: int = 0
    samples: int = 0
    beyond: int = 0
    worst_time: float | None = None
    worst_component: int | None = None
    disagreement: float | None = None
    order: Order | None = None
    missed_knots: int = 0
    knots: int = 0
    advice: Advice | None = None
    optima: Optima | None = None
    known: float | None = None
    ode_violation: float | None = None

    @classmethod
    def unknown(
        cls,
        solver: Solver,
        cost: float,
        reason: str,
        *,
        optima: Optima | None = None,
        known: float | None = None,
        ode_violation: float | None = None,
    ) -> "Certificate":
        """A certificate of what could not be estimated.

        Arguments:
            solver: The network.
            cost: Its mean cost.
            reason: Why nothing can be said.
            optima, known, ode_violation: Those of the certificate; see the class.
        """
        return cls(
            repr(solver), solver.n, "could not be estimated", reason, cost,
            optima=optima, known=known, ode_violation=ode_violation,
        )  # fmt: skip

    @property
    def behaves_like_ode(self) -> bool:
        """Whether path and cost of every sample are close to the ODE's, and not by chance."""
        return self.outcome == "behaves"

    @property
    def verdict(self) -> str:
        """The verdict in plain sentences."""
        said = [self.headline, *self.depth_advice(), *self.warnings()]
        return " ".join(said)

    @property
    def headline(self) -> str:
        """The first sentence."""
        question = f"whether {self.solver} behaves like its ODE"
        if self.outcome == "could not be estimated":
            return f"It could not be estimated {question}: {self.reason.rstrip('.')}."
        if self.outcome == "not asymptotic yet":
            return f"{self.solver} is not asymptotic yet: {self.reason}."
        verb = "behaves" if self.behaves_like_ode else "does not behave"
        return f"{self.solver} {verb} like its ODE: {self.gaps()}."

    def gaps(self) -> str:
        """How far path and cost are off, and for how many samples."""
        assert self.path_gap is not None and self.cost_gap is not None
        where = ""
        if not self.behaves_like_ode and self.path_gap.worst > CLOSE:
            where = f" (x_{(self.worst_component or 0) + 1} at t = {self.worst_time:.3g})"
        cost = told(self.cost_gap.worst)
        if self.samples == 1:
            path = up_to(self.path_gap.worst)
            return f"its path is off by {path} of its range{where}, its cost by {cost}"
        text = (
            f"of {self.samples} samples the worst is off by {up_to(self.path_gap.worst)} of the "
            f"path's range{where} and {cost} of the cost, 95% of them by "
            f"{up_to(self.path_gap.most)} and {told(self.cost_gap.most)}"
        )
        return f"{text}; {self.beyond} are off by more than {CLOSE:.0%}" if self.beyond else text

    def depth_advice(self) -> list[str]:
        """What was found at another depth, if one was run."""
        if self.advice is None:
            return []
        n, gap, is_enough, missed = self.advice
        if is_enough:
            off = f", though they miss {missed} of the control's knots" if missed else ""
            return [f"With {n} steps it would{off}: run there, the worst gap is {told(gap)}."]
        return [f"No depth up to {n} that was run is enough: with {n} steps {told(gap)} is left."]

    def warnings(self) -> list[str]:
        """What else the reader must know."""
        found = []
        if self.disagreement is not None and self.outcome != "could not be estimated":
            if not self.disagreement <= 0.1 * CLOSE:
                found.append(f"The two references disagree by {told(self.disagreement)}.")
        if 0 < self.times < 2 * self.n:
            found.append(
                f"The states are so large that the paths are compared at {self.times} times only."
            )
        if self.missed_knots:
            found.append(
                f"The steps miss {self.missed_knots} of the control's {self.knots} knots, which "
                "limits the order of any method to 1 or 2."
            )
        found += self.about_optimum()
        return found

    def about_optimum(self) -> list[str]:
        """How far the optimum with these steps is from that of continuous time."""
        if self.optima is None or self.optima.euler is None:
            return []
        optima = self.optima
        own = optima.off(optima.costs[optima.at])
        if own is None:
            return [f"The continuous optimum could not be estimated: {optima.note}."]
        text = f"The optimum with {self.n} steps is {told(own)} off that of continuous time"
        euler = optima.off(optima.euler)
        if not self.solver.startswith("Euler") and euler is not None:
            text += f", that of Euler {told(euler)}"
        misled = euler is not None and euler > CLOSE
        return [f"{text}{': Euler misleads' if misled else ''}."]

    @property
    def extrapolation(self) -> str:
        """The cost in the ODE, estimated from `n` and `2 n` steps, or why there is none."""
        if self.order is None or self.order.is_asymptotic:
            return number(self.extrapolated_cost)
        return self.order.note.split(":")[0]

    def rows(self) -> list[tuple[str, str]]:
        """The table's rows."""
        rows = [
            (f"verdict at n = {self.n}", self.outcome),
            (f"J of {self.solver}", number(self.cost)),
        ]
        if self.path_gap is not None and self.cost_gap is not None:
            rows += [
                ("J_ODE(u), adaptive reference", number(self.ode_cost)),
                ("J_ODE(u), fine grid", number(self.ode_cost_fine)),
                ("J_ODE(u), extrapolated from n and 2n", self.extrapolation),
            ]
            many = self.samples > 1
            names = "worst / 95% / mean" if many else "worst"
            for name, gap in (("path", self.path_gap), ("cost", self.cost_gap)):
                values = gap if many else gap[:1]
                rows.append((f"{name} gap, {names}", " / ".join(map(told, values))))
            rows.append(("references disagree by", told(self.disagreement or 0.0)))
            rows.append(("observed order of the gap", str(self.order)))
        if self.advice is not None:
            rows.append((f"gap with {self.advice.n} steps, run", told(self.advice.gap)))
        if self.optima is not None:
            for n, cost in zip(self.optima.steps, self.optima.costs, strict=True):
                rows.append((f"optimum with {n} steps", number(cost)))
            if self.optima.euler is not None:
                rows.append((f"optimum with {self.n} Euler steps", number(self.optima.euler)))
            label = "continuous optimum J* (extrapolated)"
            rows.append((label, number(self.optima.optimum, self.optima.note)))
        if self.known is not None:
            rows.append(("known J*", number(self.known)))
        if self.ode_violation is not None:
            over = f"{self.ode_violation:.1e}"
            over = over if math.isfinite(self.ode_violation) else "not finite"
            rows.append(("constraint violation in the ODE", over))
        return rows

    def table(self, tablefmt: str = "simple") -> str:
        """The certificate as a table for the terminal, or in another format of tabulate."""
        return tabulate(
            self.rows(),
            headers=["depth certificate", self.solver],
            tablefmt=tablefmt,
            disable_numparse=True,
            colalign=("left", "right"),
        )
