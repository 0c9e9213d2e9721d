"""`solve` against CasADi with IPOPT on a public library of optimal control problems.

The twenty problems are those of OptimalControlProblems.jl (control-toolbox), next to them the
problems of `problems` and the catalyst mixing of COPS. Both solvers get the same transcription
(RK4, the control constant over a step, state bounds and path rows at the nodes) and the same
start, with their default settings. What they answer is judged by formulas written a second time,
in numpy alone. See `python -m tests.benchmarks.ocp_library --help`.

References:
    O. Cots, J. Gergaud, OptimalControlProblems.jl, https://github.com/control-toolbox/
    OptimalControlProblems.jl, 2024.
    E. D. Dolan, J. J. More, T. S. Munson, Benchmarking Optimization Software with COPS, 2004.
"""
