"""Layouts and memory formats, by torch's names. Tensors are strided; a format other than contiguous
changes no value, and here no strides either.
"""

strided = "tracegrad.strided"
contiguous_format = "tracegrad.contiguous_format"
preserve_format = "tracegrad.preserve_format"
channels_last = "tracegrad.channels_last"
channels_last_3d = "tracegrad.channels_last_3d"
