"""The roofs study: faces, lines, outlines and heights of roofs from aerial images. `study` joins the parts."""
