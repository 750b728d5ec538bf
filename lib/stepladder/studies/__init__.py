"""Studies live here, one folder each; see `stepladder.study` for what a folder must hold."""
