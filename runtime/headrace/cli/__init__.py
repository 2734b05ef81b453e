"""The commands, one file each: read flags, call a room below, print. No logic of their own."""
