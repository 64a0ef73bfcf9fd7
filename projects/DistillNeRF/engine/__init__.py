"""The work of the command line tools: training, evaluation, pictures, viewer."""
