"""One trained model: walked, trained, traced, counted."""
