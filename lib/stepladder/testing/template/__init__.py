"""Template of a study: copy this folder to `studies/<name>/` and its `params/` to `params/<name>/`, then change it."""
