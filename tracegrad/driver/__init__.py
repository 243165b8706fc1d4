"""`@compile`: from a call to a program, and the calls after it. It alone knows all rooms."""
