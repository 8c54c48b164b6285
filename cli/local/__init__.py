"""`safelight up`: the embedded servers and the processes of one machine."""
