"""Pictures and what is asked of them, from tars and from sets of true or false statements."""
