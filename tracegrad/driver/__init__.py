"""`@compile`: from a call to a program, and the calls after it. It alone imports all rooms."""
