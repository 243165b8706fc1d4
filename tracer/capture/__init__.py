"""One call becomes a graph: the trace, what it read and changed outside, guards for later calls."""
