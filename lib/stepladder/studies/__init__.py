"""Studies live here, one folder each; see `stepladder.core.study` for what a folder must hold."""
