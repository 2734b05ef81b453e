"""Pure functions between CloudEvents and their forms on the wire. No I/O, no clock, no random number."""
