"""Public test tools: what a study or a part of the road is tested against, usable outside this project too."""
