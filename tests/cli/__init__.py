"""The command line as its user sees it: real processes, real servers, what is printed and what is left behind."""
