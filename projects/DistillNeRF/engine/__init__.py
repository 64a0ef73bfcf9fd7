"""What the command line tools do: configs, training, evaluation, pictures."""
