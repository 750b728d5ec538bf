"""From maps to roofs: lines, outlines, faces that share edges, their measures, and the files that hold them."""
