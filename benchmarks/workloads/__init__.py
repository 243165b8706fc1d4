"""All workloads by name. A new file here is entered in the tuple below."""

from . import call_overhead, linear_regression, loops, mlp, neural_ode, recurrent

WORKLOADS = {
    workload.name: workload
    for module in (linear_regression, mlp, recurrent, loops, neural_ode, call_overhead)
    for workload in module.WORKLOADS
}
