"""What an OUS waits for: what is known of it, said in one sentence with the next safe thing to do."""
