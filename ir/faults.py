"""What a program may find wrong while it runs, and what is raised then: the same eagerly and from a
compiled program, which reports through four numbers.
"""

from __future__ import annotations

INDEX, FACTOR = 1, 2  # the first of the four numbers
# as a dimension: the numbers are class labels, or rows of a table, and do not count from the end;
# or it is told of divisors which of them are zero
TARGET, ROW, MARGIN, DIVISOR = -1, -2, -3, -4


class OutOfBounds(IndexError, RuntimeError):
    """A position that a tensor does not have. torch raises the one or the other, depending on the
    function; this is both.
    """


def from_the_front(dim: int) -> int:
    """The dimension `dim`, as that of positions that do not count from the end."""
    return DIVISOR - 1 - dim


# what functions demand of values; what is raised for `value`, where it may be `most`
_DEMANDS: dict[str, tuple[type[Exception], str]] = {
    "iterations": (
        RuntimeError, "while_loop: the condition still holds after max_iterations={most} iterations"
    ),
    "std": (RuntimeError, "normal expects all elements of std >= 0.0"),
    "rate": (RuntimeError, "invalid Poisson rate, expected rate to be non-negative"),
    "chance": (RuntimeError, "Expected p_in >= 0 && p_in <= 1 to be true, but got false."),
    "weights": (
        RuntimeError, "probability tensor contains either `inf`, `nan` or element < 0"
    ),
    "weight": (
        RuntimeError, "invalid multinomial distribution (sum of probabilities <= 0)"
    ),
    "class": (RuntimeError, "Class values must be smaller than num_classes."),
    "no class": (RuntimeError, "Class values must be non-negative."),
    "cross entropy": (RuntimeError, "all elements of input should be between 0 and 1"),
    "target": (RuntimeError, "all elements of target should be between 0 and 1"),
    "variance": (ValueError, "var has negative entry/entries"),
    "ones": (
        RuntimeError, "masked_scatter: the mask has more ones than source has elements, {most}"
    ),
    "first bag": (
        RuntimeError, "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to "
        "start from position 0. However, got {value}",
    ),
    "last bag": (
        RuntimeError, "offsets[-1] can not be greater than input's length, but got offsets[-1] of "
        "{value} and input length of {most}",
    ),
    "input_lengths": (
        RuntimeError, "Expected input_lengths to have value at most {most}, but got value {value} "
        "(while checking arguments for ctc_loss_allocate_outputs)",
    ),
    "targets of one": (
        RuntimeError, "Expected tensor to have size at least {value} at dimension 1, but got size "
        "{most} for argument #2 'targets' (while checking arguments for "
        "ctc_loss_allocate_outputs)",
    ),
    "targets of all": (
        RuntimeError, "Expected tensor to have size {value} at dimension 0, but got size {most} "
        "for argument #2 'targets'",
    ),
    "batch sizes": (
        RuntimeError, "a PackedSequence needs batch_sizes that begin with the number of sequences, "
        "do not grow, and sum to the rows of its data; make it by pack_padded_sequence",
    ),
}
DEMANDS = tuple(_DEMANDS)
_FIRST = -1000  # as a dimension; those after it stand for the others


def demand(name: str) -> int:
    """One of DEMANDS, as the dimension of a check."""
    return _FIRST - DEMANDS.index(name)


def out_of_bounds(index: int, size: int, dim: int) -> Exception:
    """What a failed check_index raises."""
    if dim <= _FIRST:
        cls, text = _DEMANDS[DEMANDS[_FIRST - dim]]
        return cls(text.format(value=index, most=size - 1))
    if dim == MARGIN:  # in torch the losses with margins have a class of error of their own
        return RuntimeError(f"target out of range: {index}, where there are {size} classes")
    if dim == TARGET:
        return OutOfBounds(f"Target {index} is out of bounds.")
    if dim == ROW:
        return OutOfBounds(f"index out of range in self: index {index} of a table of size {size}")
    dim = dim if dim >= 0 else from_the_front(dim)
    return OutOfBounds(f"index {index} is out of bounds for dimension {dim} with size {size}")


def division_by_zero() -> RuntimeError:
    """What an integer divided by zero raises, as in torch."""
    return RuntimeError("ZeroDivisionError")


class LinAlgError(RuntimeError):
    """A matrix that has no such factor, or an iteration that did not converge.

    What `linalg` Raises for the numbers in a matrix; a wrong shape is another RuntimeError.

    >>> try:
    ...     torch.linalg.inv(torch.zeros(2, 2))
    ... except torch.linalg.LinAlgError as error:
    ...     print(str(error).split(":")[0])
    linalg.inv
    """


# what is said, `info` being what LAPACK counts, from 1; and the functions that say it
_WORDS = {
    "cholesky linalg.cholesky linalg.cholesky_ex": "The factorization could not be completed "
    "because the input is not positive-definite (the leading minor of order {info} is not "
    "positive-definite).",
    "linalg.inv linalg.inv_ex": "The diagonal element {info} is zero, the inversion could not be "
    "completed because the input matrix is singular.",
    "torch.linalg.solve torch.linalg.solve_ex": "The solver failed because the input matrix is "
    "singular.",
    "torch.linalg.lu_factor torch.linalg.lu_factor_ex": "U[{info},{info}] is zero and using it on "
    "lu_solve would result in a division by zero. If you still want to perform the factorization, "
    "consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)",
    "linalg.eigh": "The algorithm failed to converge because the input matrix is ill-conditioned "
    "or has too many repeated eigenvalues (error code: {info}).",
    "linalg.svd": "The algorithm failed to converge because the input matrix is ill-conditioned "
    "or has too many repeated singular values (error code: {info}).",
}
NOT_FINITE = (
    "The algorithm failed to converge because the input matrix contained non-finite values."
)
_SAID = {name: words for names, words in _WORDS.items() for name in names.split()}
NAMES = tuple(_SAID)


def no_factor(check: str, info: int, batch: int | None) -> LinAlgError:
    """`check` failed at `info`, for the matrix number `batch` of several."""
    where = "" if batch is None else f"(Batch element {batch}): "
    why = _SAID[check].format(info=info) if info > 0 else NOT_FINITE
    return LinAlgError(f"{check}: {where}{why}")


def fault(kind: int, a: int, b: int, c: int) -> Exception:
    """What the four numbers of a compiled program mean."""
    if kind == FACTOR:
        return no_factor(NAMES[b], a, None if c < 0 else c)
    return division_by_zero() if c == DIVISOR else out_of_bounds(a, b, c)
