"""Notebooks run and read: what a cell may call, the kernel, the runner, how one ended."""
