"""The captions study: pictures and texts from hostile addresses to a trained projection. `study` joins the parts."""
