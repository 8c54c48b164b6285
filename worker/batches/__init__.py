"""The batch processor: reads input files, writes output files."""
