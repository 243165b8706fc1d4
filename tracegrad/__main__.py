"""The command line: `python -m tracegrad script.py`, `python -m tracegrad cache`."""

from .driver.command_line import main

if __name__ == "__main__":
    main()
