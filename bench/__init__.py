"""Benchmarks: each figure beside a bare reference of the same run, as a ratio. See docs/05-performance.md.

Machines differ and their speed moves within minutes, so nothing here asserts an absolute time.
"""
