"""What nobody may do, whoever asks and whatever they send."""
