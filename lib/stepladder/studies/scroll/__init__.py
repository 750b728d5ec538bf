"""The scroll study: papyrus surfaces in CT volumes of carbonised scrolls. `study` joins the parts."""
