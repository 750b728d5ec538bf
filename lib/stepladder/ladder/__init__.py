"""The ladder: measured rungs that choose workers and batch, each tried in a child process."""
