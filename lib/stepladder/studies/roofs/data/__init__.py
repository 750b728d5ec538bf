"""From images and labels of five origins to crops that say what is labelled in them."""
