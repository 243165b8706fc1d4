"""torch.fft: refused, because its results are complex numbers."""

from .refusals import refused

globals().update(refused(
    "fft",
    "fft fft2 fftfreq fftn fftshift hfft hfft2 hfftn ifft ifft2 ifftn ifftshift ihfft ihfft2 "
    "ihfftn irfft irfft2 irfftn rfft rfft2 rfftfreq rfftn",
    "complex numbers are not supported",
))
