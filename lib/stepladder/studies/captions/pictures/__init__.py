"""What the study draws: funnels, error mixes, captions of every arm, attention."""
