"""`safelight up`: the embedded servers and all processes on one machine."""
