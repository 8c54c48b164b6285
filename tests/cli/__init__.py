"""The command line as a user sees it: real processes and servers, the output, and the files that are written."""
